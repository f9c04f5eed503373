"""Execution of attention plans: tensors in, tensors out, no transformers.

Three ways to run the same plan; `execute` picks one and none changes the result beyond rounding:

- `_fused`: torch's scaled_dot_product_attention per run of equally long segments. No mask exists, so CPUs and GPUs take their fused
  kernels; short texts of one length become one batched call.
- `_varlen`: torch's variable-length FlashAttention, one call for the whole row (CUDA, half precision, no dropout).
- `_explicit`: scores written out in float32, for what fused kernels lack: soft-capping (Gemma 2), attention sinks (GPT-OSS), and
  attention dropout on CPUs, where the fused kernel has none.

Letters: T tokens, G query heads, K key heads (G a multiple of K), D head width, C segments of a run, L their length.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bothways.attention.plan import AttentionPlan, Run

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:
    varlen_attn = None
# Its first releases (torch 2.10) had no windows; those, and older torch, run the fused path.
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
) -> Tensor:
    """Attention of one packed row under a plan.

    Args:
        query: (T, G, D).
        key: (T, K, D).
        value: (T, K, Dv).
        plan: who sees whom; `plan.total` is T.
        scaling: factor on the scores, default D ** -0.5.
        dropout: probability with which an attention weight is dropped.
        window: sliding window of this layer, see `AttentionPlan`; None for none.
        softcap: scores become softcap · tanh(score / softcap) (Gemma 2, arXiv 2408.00118).
        sinks: (G,) one extra logit per head that takes weight and gives nothing (GPT-OSS).

    Returns:
        (T, G, Dv).
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if window is not None and window >= plan.longest:
        window = None
    written_out = softcap is not None or sinks is not None or (dropout > 0 and query.device.type == "cpu")
    if written_out:
        extras: dict[str, Any] = {"dropout": dropout, "window": window, "softcap": softcap, "sinks": sinks}
        return torch.cat([_explicit(*_cut(run, query, key, value), plan.direction, scaling, **extras) for run in plan.runs])
    if _can_varlen(query, value, dropout):
        return _varlen(query, key, value, plan, scaling, window)
    parts = [_fused(*_cut(run, query, key, value), plan.direction, scaling, dropout, window) for run in plan.runs]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _cut(run: Run, *tensors: Tensor) -> list[Tensor]:
    """The segments of a run as (C, heads, L, D) views."""
    end = run.start + run.length * run.count
    return [t[run.start : end].unflatten(0, (run.count, run.length)).transpose(1, 2) for t in tensors]


def _visible(length: int, direction: str, window: int | None, device: torch.device) -> Tensor | None:
    """Mask (L, L) of one segment, or None where every token sees every other."""
    if direction == "bidirectional" and window is None:
        return None
    return AttentionPlan((length,), direction).dense(device, window)  # type: ignore[arg-type]


def _fused(
    q: Tensor, k: Tensor, v: Tensor, direction: str, scaling: float, dropout: float, window: int | None
) -> Tensor:
    causal = direction == "causal" and window is None
    mask = None if causal else _visible(q.shape[2], direction, window, q.device)
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
    )
    return out.transpose(1, 2).flatten(0, 1)


def _explicit(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    direction: str,
    scaling: float,
    *,
    dropout: float,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    count, heads, length, _ = q.shape
    groups = heads // k.shape[1]
    # The query heads that share a key head lie on one longer query axis: one product per key head, no copies of keys.
    q = q.unflatten(1, (-1, groups)).flatten(2, 3)  # (C, K, groups·L, D)
    scores = (q @ k.transpose(-1, -2)).float() * scaling
    scores = scores.unflatten(2, (groups, length))  # (C, K, groups, L, L)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    mask = _visible(length, direction, window, q.device)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    if sinks is not None:
        sink = sinks.float().view(1, -1, groups, 1, 1).expand(count, -1, -1, length, 1)
        weights = torch.cat([scores, sink], -1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    weights = weights.to(v.dtype)
    if dropout > 0:
        weights = F.dropout(weights, dropout, training=True)
    out = weights.flatten(2, 3) @ v  # (C, K, groups·L, Dv)
    return out.unflatten(2, (groups, length)).permute(0, 3, 1, 2, 4).flatten(2, 3).flatten(0, 1)


def _can_varlen(query: Tensor, value: Tensor, dropout: float) -> bool:
    return (
        _HAS_VARLEN
        and query.is_cuda
        and query.dtype in (torch.bfloat16, torch.float16)
        and dropout == 0
        and query.shape[-1] == value.shape[-1] <= 256
        and query.shape[-1] % 8 == 0
    )


def _varlen(query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, scaling: float, window: int | None) -> Tensor:
    if plan.direction == "causal":
        # FlashAttention counts the tokens to the left; a causal window counts the token itself too
        reach = (-1 if window is None else window - 1, 0)
    else:
        reach = (-1, -1) if window is None else (window, window)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:  # the grouped-query argument came after the windows; repeating keys is right in every release
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    bounds = plan.cu_seqlens(query.device)
    return varlen_attn(
        query, key, value, bounds, bounds, plan.longest, plan.longest, scale=scaling, window_size=reach
    )
