"""How much an encoder's vectors move when a linear layer is rounded to int8.

A layer's output y becomes y + δ. To first order, the unit vector v of a text moves by J δ, and J is
the derivative of v by y. For a random r with unit variance, the mean of (r · J δ)² is ‖J δ‖². One
backward pass gives r · J δ for every layer at once (Hutchinson's estimate of a trace). Half of
‖J δ‖² is the loss of cosine.

Letters: G groups of layers with one input, N texts, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bothways.backbone.linears.products import kernel_levels, rounded_rows, rounded_weight
from bothways.backbone.linears.shared_input import calling, linears_of, same_inputs
from bothways.encoder.batch import TokenBatch, TokenRow
from bothways.encoder.module import EncoderModule

RoundingChanges = Callable[[nn.Linear, Tensor], tuple[Tensor, Tensor]]
"""What rounding adds to the output (T, N) of a layer with an input (..., K): of the weight, and of
the input."""

DRAWS = 4
"""Random directions r, and so backward passes."""


@dataclass(frozen=True)
class Effects:
    """What rounding costs, by group and text.

    Args:
        groups: names of the linear layers of each group, in the order of their calls.
        sizes: (G,) numbers in the weights.
        of_weights: (G, N) loss of cosine if the weights are rounded.
        of_inputs: (G, N) loss of cosine if the inputs are rounded with one term.
    """

    groups: list[list[str]]
    sizes: np.ndarray
    of_weights: np.ndarray
    of_inputs: np.ndarray


def measure_effects(
    encoder: EncoderModule, rows: Sequence[TokenRow], changes: RoundingChanges | None = None
) -> Effects:
    """Measure the effects on the vectors of texts, with a forward and `DRAWS` backward passes.

    Args:
        encoder: in evaluation mode and float32, on a CPU.
        rows: the tokens of the texts.
        changes: what rounding adds. If None, that of one term in an `Int8Product`.
    """
    # in a padded batch, rows of padding would count
    parts = [rows] if encoder.execution == "packed" else [[row] for row in rows]
    batches = [encoder.pack(part) for part in parts]
    with torch.no_grad():
        layers = linears_of(encoder.backbone)
        groups = same_inputs(layers, lambda: encoder(batches[0]))
    found = [_measure(encoder, layers, groups, batch, changes or _changes) for batch in batches]
    return Effects(
        groups,
        np.array([sum(layers[name].weight.numel() for name in group) for group in groups]),
        np.concatenate([weights for weights, _ in found], 1),
        np.concatenate([inputs for _, inputs in found], 1),
    )


def _measure(
    encoder: EncoderModule,
    layers: dict[str, nn.Linear],
    groups: list[list[str]],
    batch: TokenBatch,
    changes: RoundingChanges,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the effects of rounded weights and of rounded inputs, both (G, N of the batch)."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}

    def note(name: str, given: Tensor, out: Tensor) -> None:
        inputs[name], outputs[name] = given.detach(), out

    weight = next(p for p in encoder.backbone.parameters() if p.is_floating_point())
    before = weight.requires_grad
    weight.requires_grad_(True)
    try:
        with torch.enable_grad(), calling(layers, note):
            vectors = nn.functional.normalize(encoder(batch), dim=-1)
        names = [name for group in groups for name in group if outputs[name].requires_grad]
        generator = torch.Generator().manual_seed(0)
        draws: list[dict[str, Tensor | None]] = []
        for draw in range(DRAWS):
            found = torch.autograd.grad(
                vectors,
                [outputs[name] for name in names],
                torch.randn(vectors.shape, generator=generator),
                retain_graph=draw + 1 < DRAWS,
                allow_unused=True,
            )
            draws.append(dict(zip(names, found)))
    finally:
        weight.requires_grad_(before)
    return _add_up(layers, groups, inputs, draws, batch, changes)


def _add_up(
    layers: dict[str, nn.Linear],
    groups: list[list[str]],
    inputs: dict[str, Tensor],
    draws: Sequence[dict[str, Tensor | None]],
    batch: TokenBatch,
    changes: RoundingChanges,
) -> tuple[np.ndarray, np.ndarray]:
    segments = batch.plan.segment_ids(torch.device("cpu"))
    found = np.zeros((2, len(groups), batch.rows))
    for place, group in enumerate(groups):
        moved = torch.zeros(2, len(draws), len(batch.plan.lengths))
        for name in group:
            for kind, change in enumerate(changes(layers[name], inputs[name])):
                for draw, gradients in enumerate(draws):
                    gradient = gradients.get(name)
                    if gradient is not None:  # the vectors do not depend on some layers
                        rows = (gradient.flatten(0, -2) * change).sum(-1)
                        moved[kind, draw].index_add_(0, segments, rows)
        found[:, place] = moved.square().mean(1)[:, : batch.rows].numpy() / 2
    return found[0], found[1]


@torch.no_grad()
def _changes(layer: nn.Linear, given: Tensor) -> tuple[Tensor, Tensor]:
    """Return what rounding adds to a layer's output (T, N): of the weight, and of the input."""
    rows = given.flatten(0, -2)
    whole, scale = rounded_weight(layer.weight)
    weight = whole * scale[:, None]
    levels = kernel_levels()
    steps, row_scale = rounded_rows(rows, levels, 1)
    rounded = (steps.float() - (levels + 1)) * row_scale
    linear = nn.functional.linear
    return linear(rows, weight - layer.weight), linear(rounded - rows, weight)
