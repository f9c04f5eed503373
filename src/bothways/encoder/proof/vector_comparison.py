"""Computes vectors with stock transformers, and how much two sets of vectors may differ.

All checks measure with it: the reference (padded batches and single texts through transformers' own
attention) and the limits for each dtype.

Letters: T tokens of a packed row, N texts, H hidden, D embedding.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bothways.attention.run import of_layers, position_offset, states_argument
from bothways.attention.stock import (
    can_set_implementation,
    distance,
    evaluation_mode,
    needs_eager,
    stock,
)
from bothways.attention.text_config import text_configs
from bothways.config import PooledLayers
from bothways.encoder.batch import TokenBatch
from bothways.encoder.module import EncoderModule

EXACT = 1e-5
"""Largest difference of one number of two unit vectors in float32, by the same kernels.
Only the order of additions differs."""

ROUNDED = 1e-4
"""The same for other kernels or merged weights. Rounding grows through the layers of an untrained
direction (9e-6 measured on SmolLM2-135M, 30 layers). A wrong mask is off by 1e-2 or more."""

COSINE = 0.9999
"""Lowest cosine of two equal vectors in half precision."""

HALF_NOISE = 0.05
"""Largest distance (1 - cosine) of stock code from itself in half precision that is rounding."""


class Difference(NamedTuple):
    """The distance of two sets of vectors.

    It is the largest difference of unit vectors in float32, or 1 - cosine in half precision.
    """

    value: float
    half: bool

    def exceeds(self, limit: float) -> bool:
        """Return whether it is more than rounding.

        `limit` applies in float32, `COSINE` in half precision.
        """
        return not self.value <= (1 - COSINE if self.half else limit)

    @property
    def figure(self) -> str:
        """The value as text for people."""
        return f"cos {1 - self.value:.5f}" if self.half else f"{self.value:.1e}"


def compare_vectors(encoder: EncoderModule, a: Tensor, b: Tensor) -> Difference:
    """Compare two sets of vectors (N, D), each scaled to unit length.

    The measure depends on the encoder's precision.
    """
    one, other = (nn.functional.normalize(x.detach().double().cpu(), dim=-1) for x in (a, b))
    if rounds(encoder):
        return Difference(float(1 - (one * other).sum(-1).min()), True)
    return Difference(float((one - other).abs().max()), False)


def rounds(encoder: EncoderModule) -> bool:
    """Return whether the encoder computes with less than float32: half precision, or int8."""
    return encoder.dtype in (torch.bfloat16, torch.float16) or encoder.quantized is not None


def allowance(encoder: EncoderModule, batch: TokenBatch) -> float:
    """Return how far vectors may be from stock code in half precision, as 1 - cosine.

    Returns 0 in float32. In half precision stock code differs from itself: eager and SDPA, padded
    and not, cosine 0.996 for one text of SmolLM2-135M untrained for this direction. All of them are
    that far from float32. So kernel error is judged against that of the plain model, at most 1.25
    times. If a shortcut turns one of the variants causal, they differ by more than rounding can
    explain, and then nothing is allowed.
    """
    if not rounds(encoder):
        return 0.0
    found: list[Tensor] = []
    for implementation in implementations(encoder):
        with stock(encoder.backbone, implementation):
            rows = [
                alone_states(encoder.backbone, batch, encoder.reads),
                padded_states(encoder.backbone, batch, "right", encoder.reads),
            ]
            if takes_positions(encoder.backbone):
                rows.append(padded_states(encoder.backbone, batch, "left", encoder.reads))
            found += [encoder.pool(states, batch) for states in rows]
    noise = max(compare_vectors(encoder, a, b).value for a in found for b in found)
    return 1.25 * noise + 1 - COSINE if noise < HALF_NOISE else 0.0


def alone_states(model: nn.Module, batch: TokenBatch, layers: PooledLayers = "last") -> Tensor:
    """Compute the states (T, H) of each text by itself, without a padding mask."""
    texts = batch.input_ids.split(batch.plan.lengths)
    outputs = (
        model(input_ids=text[None], use_cache=False, **states_argument(layers)) for text in texts
    )
    return torch.cat([of_layers(model, output, layers)[0] for output in outputs])


def padded_states(
    model: nn.Module, batch: TokenBatch, side: str, layers: PooledLayers = "last"
) -> Tensor:
    """Compute the states (T, H) from one batch padded on `side`.

    Position ids are passed if the family takes them.
    """
    texts = batch.input_ids.split(batch.plan.lengths)
    width = batch.plan.longest
    ids = torch.full((len(texts), width), int(batch.input_ids[0]), device=batch.input_ids.device)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        place = slice(0, len(text)) if side == "right" else slice(width - len(text), width)
        ids[row, place], mask[row, place] = text, 1
    extra = {}
    if takes_positions(model):
        extra["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0) + position_offset(model)
    output = model(
        input_ids=ids, attention_mask=mask, use_cache=False, **extra, **states_argument(layers)
    )
    return of_layers(model, output, layers)[mask.bool()]


def takes_positions(model: nn.Module) -> bool:
    """Return whether a caller can pass position ids to the model."""
    return "position_ids" in inspect.signature(model.forward).parameters


def is_relative(encoder: EncoderModule, batch: TokenBatch) -> bool:
    """Return whether positions come from the mask or do not matter.

    It is measured by shifting one text behind a column of padding.
    """
    with evaluation_mode(encoder.backbone), stock(encoder.backbone, "eager"):
        return (
            distance(
                padded_states(encoder.backbone, batch, "left"),
                padded_states(encoder.backbone, batch, "right"),
            )
            < 1e-2
        )


def report(encoder: EncoderModule) -> dict[str, Any]:
    """Return the report of the switch of direction, from when the encoder was made."""
    found = encoder.provenance.get("report")
    return found if isinstance(found, dict) else {}


def implementations(encoder: EncoderModule) -> list[str]:
    """List the stock attention implementations that a loader of the saved folder would use."""
    model = encoder.backbone
    if not can_set_implementation(model):
        return [next(text_configs(model))._attn_implementation]
    # the folder says so, and the model in memory agrees
    if report(encoder).get("needs_eager") and needs_eager(model):
        return ["eager"]
    runnable = []
    ids = torch.full((1, 5), 5, device=encoder.device)
    for implementation in ("eager", "sdpa"):
        try:
            with stock(model, implementation):
                model(input_ids=ids, use_cache=False)
        # Families without this implementation raise an error, and loaders then choose the other
        # one.
        except Exception:
            continue
        runnable.append(implementation)
    return runnable
