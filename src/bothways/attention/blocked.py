"""Executes hidden blocks (LLaRA): the row as a plain plan, its last blocks as a few rows of scores.

A plain kernel can do most of the work: under causal attention the text and its first block, under
bidirectional attention the text. The tokens that remain (`AttentionPlan.tails`, some twenty of a
text's hundreds) attend to their whole segment under a small mask, a rectangle of that many rows for
every text. The cost is that of the plain pattern. A dense mask over the row never exists.

Method: LLaRA (Llama2Vec), arXiv 2312.15503. The pattern itself is in `blocks`.

Letters: T tokens, G query heads, K key heads, D head width, C segments of a group, L tokens of its
longest, B of its longest tail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bothways.attention.explicit import attend_rectangle, rectangle, row
from bothways.attention.plan import AttentionPlan, SegmentGroup


class Tail(NamedTuple):
    """The tails of adjacent segments of similar length.

    Attributes:
        queries: the tails, as a group of the row of all tails.
        keys: their whole segments, as a group of the row.
        seen: (C, B, L) bool, True if the query sees the key.
    """

    queries: SegmentGroup
    keys: SegmentGroup
    seen: Tensor


class Layout(NamedTuple):
    """The places of a plan's tokens in the row, divided into body and tails.

    Attributes:
        body: (T - Σ tails,) indices of the body.
        tails: (Σ tails,) indices of the tails.
        inverse: (T,) index that puts body and tails, joined, back in row order.
    """

    body: Tensor
    tails: Tensor
    inverse: Tensor


def blocked(
    attend: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    plan: AttentionPlan,
    *,
    scaling: float,
    dropout: float,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """Attend in one packed row with hidden blocks.

    `attend` runs plain plans. The other arguments are those of `kernel.execute`.
    """

    def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(
            q,
            k,
            v,
            plan.body,
            scaling=scaling,
            dropout=dropout,
            window=window,
            softcap=softcap,
            sinks=sinks,
        )

    if not any(plan.tails):
        return plain(query, key, value)
    layout = _layout(plan, query.device)
    parts = [plain(*(tensor.index_select(0, layout.body) for tensor in (query, key, value)))]
    asking = query.index_select(0, layout.tails)
    for tail in _tails(plan, window, query.device):
        q, k, v = (
            rectangle(asking, tail.queries),
            rectangle(key, tail.keys),
            rectangle(value, tail.keys),
        )
        if query.is_cuda and softcap is None and sinks is None:
            out = fused_rectangle(q, k, v, tail.seen, scaling, dropout)
        else:
            bias = torch.zeros_like(tail.seen, dtype=torch.float32).masked_fill_(
                ~tail.seen, float("-inf")
            )
            out = attend_rectangle(q, k, v, scaling, bias[:, None, None], dropout, softcap, sinks)
        parts.append(row(out, tail.queries))
    return torch.cat(parts).index_select(0, layout.inverse)


def fused_rectangle(
    q: Tensor, k: Tensor, v: Tensor, seen: Tensor, scaling: float, dropout: float
) -> Tensor:
    """Attend as `explicit.attend_rectangle` does, through torch's fused attention.

    On CUDA no score is then kept. `seen` is (C, B, L) bool.
    """
    # Fused kernels that take a mask need a key head for every query head.
    shared = q.shape[2] // k.shape[2]
    k, v = (t.repeat_interleave(shared, 2) if shared > 1 else t for t in (k, v))
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=seen[:, None], dropout_p=dropout, scale=scaling
    )
    return out.transpose(1, 2)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _layout(plan: AttentionPlan, device: torch.device) -> Layout:
    last = torch.zeros(plan.total, dtype=torch.bool)
    end = 0
    for length, tail in zip(plan.lengths, plan.tails):
        end += length
        last[end - tail : end] = True
    body, tails = (~last).nonzero().flatten(), last.nonzero().flatten()
    return Layout(body.to(device), tails.to(device), torch.cat([body, tails]).argsort().to(device))


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _tails(plan: AttentionPlan, window: int | None, device: torch.device) -> tuple[Tail, ...]:
    return tuple(_each_tail(plan, window, device))


def _each_tail(plan: AttentionPlan, window: int | None, device: torch.device) -> Iterator[Tail]:
    positions, ids, asking = (
        plan.position_ids(),
        plan.block_ids(),
        _layout(plan, torch.device("cpu")).tails,
    )
    segment = start = 0
    for keys in plan.groups:
        tails = plan.tails[segment : segment + len(keys.lengths)]
        segment += len(tails)
        if not any(tails):
            continue
        queries = SegmentGroup(start, tails)
        start += sum(tails)
        # Padding behind keys gets block -1, which no token sees. A query that is padding counts as
        # the text's first token, so it sees at least one token. A row that sees nothing would be
        # NaN.
        block, own = rectangle(ids + 1, keys) - 1, rectangle(ids[asking], queries)
        seen = (block[:, None] == 0) | (block[:, None] == own[..., None])
        ahead = (
            rectangle(positions, keys)[:, None] - rectangle(positions[asking], queries)[..., None]
        )
        if plan.direction == "causal":
            seen &= ahead <= 0
            if window is not None:
                seen &= ahead > -window
        elif window is not None:
            seen &= ahead.abs() <= window
        yield Tail(queries, keys, seen.to(device))
