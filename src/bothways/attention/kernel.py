"""Executes attention plans: tensors in, tensors out, without transformers.

There are three ways to run the same plan. `execute` picks one, and the results differ only by
rounding:

- fused: torch's scaled_dot_product_attention per run of equally long segments. It does not need a
  mask, so CPUs and GPUs use their fused kernels, and texts of one length become one batched call.
  Sliding windows need a small mask for each block of queries (`reach`).
- varlen: torch's variable-length FlashAttention, one call for the whole row (CUDA, half precision,
  no dropout).
- explicit (`attention.explicit`): scores written out, for features that fused kernels lack
  (soft-capping, sinks, dropout on CPUs). It also serves training in half precision on short texts
  on CPUs, because the backward pass of torch's fused kernel costs several times as much
  (benchmarks/attention.py).

Shifted groups (`attention.grouped`) and hidden blocks (`attention.blocked`) are divided into plain
plans that come back here.

Letters: T tokens, G query heads, K key heads (G a multiple of K), D head width, C segments of a
run, L their length.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bothways.attention.blocked import blocked
from bothways.attention.explicit import explicit
from bothways.attention.grouped import grouped
from bothways.attention.plan import AttentionPlan, SegmentRun
from bothways.attention.reach import query_blocks, seen
from bothways.config import Direction

varlen_attn: Callable[..., Any] | None
try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:
    varlen_attn = None
EXPLICIT_BACKWARD = {torch.bfloat16: 512, torch.float16: 512}
"""Tokens of the longest text up to which the explicit form trains faster on CPUs, by dtype.

For longer texts and other dtypes, fused kernels are used.
"""

# varlen's first releases (torch 2.10) did not have windows. Those releases, and older torch, run
# the fused path.
_HAS_VARLEN = varlen_attn is not None and "window_size" in inspect.signature(varlen_attn).parameters


def execute(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    plan: AttentionPlan,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    layer: int | None = None,
) -> Tensor:
    """Attend in one packed row under a plan.

    Args:
        query: (T, G, D).
        key: (T, K, D).
        value: (T, K, Dv).
        plan: which tokens see which. `plan.total` is T.
        scaling: factor on the scores. If None, D ** -0.5.
        dropout: probability with which an attention weight is dropped.
        window: sliding window of this layer, see `AttentionPlan`. If None, there is no window.
        softcap: if given, scores become softcap · tanh(score / softcap) (Gemma 2, arXiv
            2408.00118).
        sinks: (G,) one extra logit per head that receives weight and contributes nothing (GPT-OSS).
        layer: number of the calling layer, for groups that shift in every second one.

    Returns:
        (T, G, Dv).

    Raises:
        InputError: if groups wrap under a window, or shift by layer without a layer's number.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if window is not None and window >= plan.longest:
        window = None
    if plan.shifted is not None or plan.blocks:
        return _patterned(query, key, value, plan, scaling, dropout, window, softcap, sinks, layer)
    if (
        softcap is not None
        or sinks is not None
        or (query.device.type == "cpu" and _suits_explicit(query, plan, dropout))
    ):
        return explicit(
            query,
            key,
            value,
            plan,
            scaling,
            dropout=dropout,
            window=window,
            softcap=softcap,
            sinks=sinks,
        )
    if _can_varlen(query, value, dropout):
        return _varlen(query, key, value, plan, scaling, window)
    parts = [
        _fused(_cut(run, query, key, value), plan.direction, scaling, dropout, window)
        for run in plan.runs
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _patterned(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    plan: AttentionPlan,
    scaling: float,
    dropout: float,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
    layer: int | None,
) -> Tensor:
    options: dict[str, Any] = {
        "scaling": scaling,
        "dropout": dropout,
        "window": window,
        "softcap": softcap,
        "sinks": sinks,
    }
    if plan.shifted is None:
        return blocked(execute, query, key, value, plan, **options)
    return grouped(execute, query, key, value, plan, layer=layer, **options)


def _cut(run: SegmentRun, *tensors: Tensor) -> list[Tensor]:
    """View the segments of a run as (C, heads, L, D)."""
    end = run.start + run.length * run.repeats
    return [
        t[run.start : end].unflatten(0, (run.repeats, run.length)).transpose(1, 2) for t in tensors
    ]


def _suits_explicit(query: Tensor, plan: AttentionPlan, dropout: float) -> bool:
    # The fused CPU kernel does not support dropout. torch would write out the scores too, but more
    # slowly.
    trained = torch.is_grad_enabled() and query.requires_grad
    return dropout > 0 or (trained and plan.longest <= EXPLICIT_BACKWARD.get(query.dtype, 0))


def _fused(
    qkv: list[Tensor], direction: Direction, scaling: float, dropout: float, window: int | None
) -> Tensor:
    q, k, v = qkv
    options: dict[str, Any] = {
        "dropout_p": dropout,
        "scale": scaling,
        "enable_gqa": q.shape[1] != k.shape[1],
    }
    if window is None:
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=None, is_causal=direction == "causal", **options
        )
    else:
        parts = []
        for block in query_blocks(q.shape[2], direction, window):
            rows, columns = slice(block.start, block.end), slice(block.first, block.last)
            mask = seen(block, direction, window, q.device)
            own = q[:, :, rows], k[:, :, columns], v[:, :, columns]
            parts.append(F.scaled_dot_product_attention(*own, attn_mask=mask, **options))
        out = parts[0] if len(parts) == 1 else torch.cat(parts, 2)
    return out.transpose(1, 2).flatten(0, 1)


def _can_varlen(query: Tensor, value: Tensor, dropout: float) -> bool:
    return (
        _HAS_VARLEN
        and query.is_cuda
        and query.dtype in (torch.bfloat16, torch.float16)
        and dropout == 0
        and query.shape[-1] == value.shape[-1] <= 256
        and query.shape[-1] % 8 == 0
    )


def _varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    plan: AttentionPlan,
    scaling: float,
    window: int | None,
) -> Tensor:
    # FlashAttention counts the tokens to the left of a causal window. A plan's window counts the
    # token itself too.
    causal = (-1 if window is None else window - 1, 0)
    reach = (
        causal if plan.direction == "causal" else (-1, -1) if window is None else (window, window)
    )
    groups = query.shape[1] // key.shape[1]
    if groups > 1:  # enable_gqa is newer than the windows; copies work in every release
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    assert varlen_attn is not None
    bounds = plan.cu_seqlens(query.device)
    out: Tensor = varlen_attn(
        query,
        key,
        value,
        bounds,
        bounds,
        plan.longest,
        plan.longest,
        scale=scaling,
        window_size=reach,
    )
    return out
