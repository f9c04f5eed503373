"""Attention in plain PyTorch: computes the full score matrix one group at a time.

It is used if a layer needs something that fused kernels cannot do (soft-capping, sinks, dropout on
CPUs). On CPUs it is also the fast way for short texts: three matrix products per group in the CPU's
fastest dtype, with a softmax that sums in float32.

Letters: T tokens, C segments of a group, L tokens of its longest, G query heads, K key heads, g = G
/ K, D head width, Dv width of the values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bothways.attention.plan import AttentionPlan, SegmentGroup
from bothways.attention.reach import QueryBlock, query_blocks, seen
from bothways.config import Direction
from bothways.dropout import dropout as drop


def explicit(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    plan: AttentionPlan,
    scaling: float,
    *,
    dropout: float = 0.0,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Attend in one packed row. The arguments are those of `kernel.execute`. Returns (T, G, Dv)."""
    # Through a window a padded query might see no key at all, and 0 · NaN would spoil the
    # gradients. So with a window rectangles are exact.
    groups = (
        plan.groups
        if window is None
        else tuple(SegmentGroup(run.start, (run.length,) * run.repeats) for run in plan.runs)
    )
    parts = []
    for group in groups:
        q, k, v = (rectangle(tensor, group) for tensor in (query, key, value))
        blocks = query_blocks(
            max(group.lengths), plan.direction, window, scores=len(group.lengths) * q.shape[2]
        )
        outs = []
        for block in blocks:
            own = (q, k, v)
            if len(blocks) > 1:
                own = (
                    q[:, block.start : block.end],
                    k[:, block.first : block.last],
                    v[:, block.first : block.last],
                )
            bias = partial(_bias, group.lengths, block, plan.direction, window, query.device)
            run = partial(_block, bias, scaling, dropout, softcap)
            if (
                len(blocks) > 1
                and torch.is_grad_enabled()
                and any(t is not None and t.requires_grad for t in (*own, sinks))
            ):
                # If kept for the backward pass, the scores of all blocks would be the square that
                # blocks avoid. Dropout draws again.
                outs.append(
                    checkpoint(
                        run, *own, sinks, use_reentrant=False, preserve_rng_state=dropout > 0
                    )
                )
            else:
                outs.append(run(*own, sinks))
        parts.append(row(outs[0] if len(outs) == 1 else torch.cat(outs, 1), group))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _block(
    bias: Callable[[], Tensor | None],
    scaling: float,
    dropout: float,
    softcap: float | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sinks: Tensor | None,
) -> Tensor:
    """Attend in one block of a group. Its mask is made here, so it is freed with its scores."""
    return attend_rectangle(q, k, v, scaling, bias(), dropout, softcap, sinks)


def attend_rectangle(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scaling: float,
    bias: Tensor | None,
    dropout: float,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """Attend in rectangles q (C, L, G, D), k (C, L, K, D), v (C, L, K, Dv). Returns (C, L, G, Dv).

    The bias (C or 1, 1, 1, L or 1, L) is added to the scores. There may be fewer queries than keys.
    The number of queries is then L in `q`, in the result and in the bias's last axis but one.
    """
    length, heads = q.shape[1:3]
    shared = heads // k.shape[2]
    # The query heads that share a key head are joined on one longer query axis. This needs one
    # product per key head and no copies of keys.
    q = (
        (q * scaling).unflatten(2, (-1, shared)).permute(0, 2, 3, 1, 4).flatten(2, 3)
    )  # (C, K, g·L, D)
    k, v = k.permute(0, 2, 3, 1), v.transpose(1, 2)  # (C, K, D, L), (C, K, L, Dv)
    # The scores do not get a name here, so they are freed when the softmax returns.
    if softcap is None and sinks is None:
        weights = _softmax(q @ k, bias, shared)
    else:
        weights = _extended_softmax(
            (q @ k).unflatten(2, (shared, length)), bias, softcap, sinks
        ).flatten(2, 3)
    weights = drop(weights.to(v.dtype), dropout)
    out: Tensor = (weights @ v).unflatten(2, (shared, length))  # (C, K, g, L, Dv)
    return out.permute(0, 3, 1, 2, 4).flatten(2, 3)


def _softmax(scores: Tensor, bias: Tensor | None, shared: int) -> Tensor:
    """Compute the softmax of scores (C, K, g·L, L), in their own dtype.

    Attention writes more scores than anything else. So they stay in the dtype of the products and
    are passed over only twice: once for the bias, in place (a product's gradient does not need the
    product), and once for the softmax, which sums in float32 for any input dtype.
    """
    if bias is not None:
        # (C or 1, 1, g·L or 1, L)
        bias = bias.squeeze(2)
        scores += (bias if bias.shape[2] == 1 else bias.repeat(1, 1, shared, 1)).to(scores.dtype)
    return scores.softmax(-1)


def _extended_softmax(
    scores: Tensor, bias: Tensor | None, softcap: float | None, sinks: Tensor | None
) -> Tensor:
    """Compute the softmax of scores (C, K, g, L, L) in float32, capped and with sinks (G,)."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if torch.is_grad_enabled():
        scores = scores if softcap is None else torch.tanh(scores / softcap) * softcap
        scores = scores if bias is None else scores + bias
    else:  # the same in place, because no backward pass needs them
        scores = scores if softcap is None else scores.div_(softcap).tanh_().mul_(softcap)
        scores = scores if bias is None else scores.add_(bias)
    if sinks is None:
        return scores.softmax(-1)
    sink = sinks.to(scores.dtype).view(1, scores.shape[1], -1, 1, 1).expand(*scores.shape[:4], 1)
    scores = torch.cat([scores, sink], -1)
    return scores.softmax(-1)[..., :-1]


def rectangle(tensor: Tensor, group: SegmentGroup) -> Tensor:
    """Arrange the tokens (T, …) of a group as (C, L, …), with zeros behind the shorter segments."""
    count, longest = len(group.lengths), max(group.lengths)
    rows = tensor[group.start : group.start + sum(group.lengths)]
    if min(group.lengths) != longest:
        # The gradient of index_copy is a plain gather. The gradient of indexing would have to add.
        empty = rows.new_zeros(count * longest, *rows.shape[1:])
        rows = empty.index_copy(0, _places(group.lengths, tensor.device), rows)
    return rows.view(count, longest, *rows.shape[1:])


def row(tensor: Tensor, group: SegmentGroup) -> Tensor:
    """Invert `rectangle`."""
    flat = tensor.flatten(0, 1)
    if min(group.lengths) == max(group.lengths):
        return flat
    return flat.index_select(0, _places(group.lengths, tensor.device))


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _places(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """Compute the index (Σ lengths,) of each token in the flattened rectangle."""
    longest = max(lengths)
    return torch.cat(
        [torch.arange(i * longest, i * longest + n) for i, n in enumerate(lengths)]
    ).to(device)


def _bias(
    lengths: tuple[int, ...],
    block: QueryBlock,
    direction: Direction,
    window: int | None,
    device: torch.device,
) -> Tensor | None:
    """Build the bias (C or 1, 1, 1, L or 1, L): -inf if a token must not see another, else 0.

    It is None if all tokens see all.
    """
    if direction == "causal" or window is not None:
        # Padding lies behind the text, and causal tokens do not look there. With windows, segments
        # are not padded.
        make = _pattern if block.short else _pattern.__wrapped__
        return make(block, direction, window, device)
    return _padding(lengths, device) if min(lengths) < max(lengths) else None


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _pattern(
    block: QueryBlock, direction: Direction, window: int | None, device: torch.device
) -> Tensor:
    hidden = ~seen(block, direction, window, device)
    return torch.zeros(hidden.shape, device=device).masked_fill(hidden, float("-inf"))[
        None, None, None
    ]


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _padding(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    hidden = torch.arange(max(lengths))[None] >= torch.tensor(lengths)[:, None]
    return (
        torch.zeros(hidden.shape).masked_fill(hidden, float("-inf"))[:, None, None, None].to(device)
    )
