"""The bridge to transformers: the attention function "bothways", and the way of a plan to it.

A plan enters through the mask factory. transformers builds one mask per forward pass through
`AttentionMaskInterface` and hands it to every layer as `attention_mask`. The factory registered
here returns the active plan instead of a tensor, as transformers' own flex attention returns a
BlockMask. The plan is then an argument of every layer, so gradient checkpointing, adapters and
wrappers that recompute or re-route layers keep it. A global variable read inside the layers would
be gone by the time the backward pass recomputes them.

The factory also receives a layer's sliding window and passes it on with the plan. The window that
layers pass to their attention function is meant for FlashAttention, and some families (Phi-3.5-MoE,
Qwen2-MoE) do not pass any.

Without an active plan (a padded batch from a caller that does not use plans) the factory draws an
explicit mask. It never takes the library's "no padding, so let SDPA assume causal" shortcut, which
silently restores causality (transformers #36150).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from bothways.attention.kernel import execute
from bothways.attention.plan import AttentionPlan

NAME = "bothways"

_active: ContextVar[AttentionPlan | None] = ContextVar("bothways_plan", default=None)
_executed: ContextVar[list[tuple[AttentionPlan | None, int | None]] | None] = ContextVar(
    "bothways_executed", default=None
)


@dataclass(frozen=True)
class LayerMask:
    """The value that a layer gets instead of a mask tensor.

    It holds the plan of the pass and the sliding window of this kind of layer.
    """

    plan: AttentionPlan
    window: int | None = None

    def __getitem__(self, index: object) -> LayerMask:
        """Return the mask itself for a slice that keeps everything.

        Gemma 4 slices the masks that it hands to its layers.

        Raises:
            TypeError: if the index is anything else, because a plan is not a tensor.
        """
        parts = index if isinstance(index, tuple) else (index,)
        if all(part in (slice(None), slice(0, None), Ellipsis) for part in parts):
            return self
        raise TypeError(f"an attention plan is not a tensor and cannot be indexed with {index!r}")


@contextmanager
def using(plan: AttentionPlan) -> Iterator[None]:
    """Run forward passes inside the block under `plan`.

    Only the mask factory reads it, at the start of each pass.
    """
    token = _active.set(plan)
    try:
        yield
    finally:
        _active.reset(token)


@contextmanager
def recording() -> Iterator[list[tuple[AttentionPlan | None, int | None]]]:
    """Collect the plan and the window that each layer really executed, as evidence for the doctor.

    For a dense mask the plan is None.
    """
    log: list[tuple[AttentionPlan | None, int | None]] = []
    token = _executed.set(log)
    try:
        yield log
    finally:
        _executed.reset(token)


def plan_mask(
    *args: Any, attention_mask: Tensor | None = None, **kwargs: Any
) -> LayerMask | Tensor:
    """Return the active plan with the window of the layer. This is transformers' mask factory.

    Without an active plan, return an explicit mask (B, 1, L, L) bool. In it rows of padding see
    themselves, because a fully masked row would become NaN.
    """
    plan = _active.get()
    if plan is not None:
        return LayerMask(plan, kwargs.get("local_size"))
    kwargs.update(allow_is_causal_skip=False, allow_is_bidirectional_skip=False)
    mask = sdpa_mask(*args, attention_mask=attention_mask, **kwargs)  # type: ignore[misc]
    assert mask is not None  # both shortcuts that omit it are disabled above
    if mask.shape[-1] == mask.shape[-2]:
        mask = mask | torch.eye(mask.shape[-1], dtype=torch.bool, device=mask.device)
    return mask


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: LayerMask | Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Compute attention, with the signature of transformers' `AttentionInterface`.

    Letters: B batch, G query heads, K key heads, L tokens, D head width, Dv width of the values.

    Args:
        module: the calling attention layer.
        query: (B, G, L, D). B is 1 under a plan.
        key: (B, K, L, D).
        value: (B, K, L, Dv).
        attention_mask: the plan with this layer's window, or a dense mask (B, 1, L, L) from
            `plan_mask`.
        scaling: factor on the scores, as the family's layer passes it. If None, D ** -0.5.
        dropout: probability with which an attention weight is dropped.
        softcap: if given, scores become softcap · tanh(score / softcap).
        s_aux: (G,) one extra logit per head (sinks), if the family has them.
        **kwargs: ignored, except for `position_bias`, which plans do not support and which is
            refused. `sliding_window` is ignored too, because eager and SDPA attention obey only the
            mask.

    Returns:
        ((B, L, G, Dv), None)

    Raises:
        NotImplementedError: if there is a positional bias, or if the row's length is not the
            plan's.
        InputError: if this layer cannot have the plan's pattern, see `kernel.execute`.
    """
    log = _executed.get()
    if log is not None:
        planned = isinstance(attention_mask, LayerMask)
        log.append((attention_mask.plan, attention_mask.window) if planned else (None, None))  # type: ignore[union-attr]
    if kwargs.get("position_bias") is not None:
        raise NotImplementedError(
            f"{type(module).__name__} adds a positional bias to its scores, which attention plans do not support"
        )
    if not isinstance(attention_mask, LayerMask):
        return _dense(query, key, value, attention_mask, scaling, dropout, softcap, s_aux), None
    plan = attention_mask.plan
    if query.shape[0] != 1 or query.shape[2] != plan.total or key.shape[2] != plan.total:
        raise NotImplementedError(
            f"{type(module).__name__} gave {tuple(query.shape)} for a packed row of {plan.total} tokens"
        )
    q, k, v = (t[0].transpose(0, 1) for t in (query, key, value))
    out = execute(
        q,
        k,
        v,
        plan,
        scaling=scaling,
        dropout=dropout,
        window=attention_mask.window,
        softcap=softcap,
        sinks=s_aux,
        layer=getattr(module, "layer_idx", None),
    )
    return out[None], None


def _dense(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None,
    dropout: float,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """Attend in a padded batch under an explicit mask, with scores written out in float32.

    This path is exact but not fast.
    """
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = (query @ key.transpose(-1, -2)).float() * (
        query.shape[-1] ** -0.5 if scaling is None else scaling
    )
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = (
            scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
        )
    if sinks is not None:
        sink = sinks.float().view(1, -1, 1, 1).expand(scores.shape[0], -1, scores.shape[2], 1)
        weights = torch.cat([scores, sink], -1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    weights = nn.functional.dropout(weights.to(value.dtype), dropout, training=dropout > 0)
    return (weights @ value).transpose(1, 2)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, plan_mask)
