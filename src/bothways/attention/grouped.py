"""Executes shifted groups (S²-Attn): every group is a segment of a plain plan.

Groups of plain heads are the segments of one plan, groups of shifted heads those of another. The
heads are run in at most four shares. Each share runs any kernel that the machine has for plain
plans, and the work is that of the groups, not of the text. Query heads that share a key head may
fall into both halves (nine heads over three key heads: four plain, five shifted). The shares are
then cut at the key heads too, and no keys are copied.

Method: LongLoRA, arXiv 2309.12307, section 3.2. The pattern itself is in `shifted`.

Letters: T tokens, G query heads, K key heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from bothways.attention.plan import AttentionPlan


class Shares(NamedTuple):
    """A layer's heads cut into pieces of one kind.

    Attributes:
        queries: number of query heads of each share, in order.
        keys: number of key heads of each piece.
        uses: for each share, the index of its piece of the key heads.
        shifted: for each share, True if its groups are shifted.
    """

    queries: tuple[int, ...]
    keys: tuple[int, ...]
    uses: tuple[int, ...]
    shifted: tuple[bool, ...]


@lru_cache(maxsize=64)
def cut_heads(heads: int, key_heads: int, plain: int) -> Shares:
    """Cut G query heads, of which the first `plain` are not shifted, into shares of one kind.

    Cuts lie at the change of kind, and at key heads if necessary.
    """
    shared = heads // key_heads
    cuts = sorted({0, plain // shared * shared, plain, -(-plain // shared) * shared, heads})
    spans = list(pairwise(cuts))
    pieces = sorted({(start // shared, -(-end // shared)) for start, end in spans})
    return Shares(
        queries=tuple(end - start for start, end in spans),
        keys=tuple(end - start for start, end in pieces),
        uses=tuple(pieces.index((start // shared, -(-end // shared))) for start, end in spans),
        shifted=tuple(start >= plain for start, _ in spans),
    )


def grouped(
    attend: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    plan: AttentionPlan,
    *,
    window: int | None,
    sinks: Tensor | None,
    layer: int | None,
    **options: object,
) -> Tensor:
    """Attend in shifted groups of one packed row.

    `attend` runs plain plans. The other arguments are those of `kernel.execute`.
    """
    groups = plan.shifted
    assert groups is not None
    if window is not None:
        groups.refuse_window(window)
    roll = plan.roll(query.device)
    heads, key_heads = query.shape[1], key.shape[1]
    plain = groups.plain_heads(heads, layer)
    if roll is None and plan.shifted_groups.lengths == plan.plain_groups.lengths:
        plain = heads
    options["window"] = window

    def run(shifted: bool, q: Tensor, k: Tensor, v: Tensor, sink: Tensor | None) -> Tensor:
        if not shifted:
            return attend(q, k, v, plan.plain_groups, sinks=sink, **options)
        if roll is None:
            return attend(q, k, v, plan.shifted_groups, sinks=sink, **options)
        order, inverse = roll
        q, k, v = (t.index_select(0, order) for t in (q, k, v))
        return attend(q, k, v, plan.shifted_groups, sinks=sink, **options).index_select(0, inverse)

    if plain in (0, heads):
        return run(plain == 0, query, key, value, sinks)
    shares = cut_heads(heads, key_heads, plain)
    # Unlike slicing, split gives its inputs one gradient for all pieces together.
    queries, keys, values = (
        query.split(shares.queries, 1),
        key.split(shares.keys, 1),
        value.split(shares.keys, 1),
    )
    each_sinks = [None] * len(queries) if sinks is None else sinks.split(shares.queries)
    parts = [
        run(shifted, q, keys[piece], values[piece], sink)
        for q, piece, shifted, sink in zip(queries, shares.uses, shares.shifted, each_sinks)
    ]
    return torch.cat(parts, 1)
