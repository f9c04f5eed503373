"""Checks of training: gradient checkpointing, the direction in training mode, and adapters."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointError

from bothways.attention.stock import INFLUENCE, distance, evaluation_mode
from bothways.encoder.batch import TokenBatch
from bothways.encoder.module import EncoderModule
from bothways.encoder.proof.check import Check
from bothways.encoder.proof.samples import batch_of, changed, cut_row, farthest, rows_of
from bothways.encoder.proof.temporary_state import (
    checkpointing,
    differentiable,
    merged,
    random_adapter,
    training_mode,
)
from bothways.encoder.proof.vector_comparison import (
    EXACT,
    ROUNDED,
    compare_vectors,
)


def gradient_checkpointing(encoder: EncoderModule, name: str, quick: bool) -> Check:
    """Check that checkpointing changes neither vectors nor gradients.

    It runs in training mode with dropout.
    """
    model: Any = encoder.backbone
    if not getattr(model, "supports_gradient_checkpointing", False):
        return Check(name, True, "–", "the family has no gradient checkpointing")
    batch = batch_of(encoder, [cut_row(row, 12) for row in rows_of(encoder)[:3]])
    # a matrix of the first block, whose gradient has passed every layer above
    weight = next(
        p
        for n, p in model.named_parameters()
        if p.ndim == 2 and p.is_floating_point() and "embed" not in n.lower()
    )
    found: list[Tensor] = []
    with training_mode(model), differentiable(weight):
        for active in (False, True):
            with checkpointing(model, active):
                torch.manual_seed(0)
                vectors = encoder(batch).float()
                try:
                    (gradient,) = torch.autograd.grad(vectors.square().sum(), weight)
                except CheckpointError:
                    return Check(
                        name,
                        False,
                        "error",
                        "the backward pass recomputes the layers differently: it has lost the plan",
                    )
                found += [vectors.detach(), gradient.flatten()[None]]
    for what, (without, checkpointed) in (("vectors", (0, 2)), ("gradients", (1, 3))):
        off = compare_vectors(encoder, found[checkpointed], found[without])
        if off.exceeds(EXACT):
            return Check(name, False, off.figure, f"checkpointing changes the {what}")
    return Check(name, True, off.figure, "vectors and gradients are the same with checkpointing")


def training_direction(encoder: EncoderModule, name: str, quick: bool) -> Check:
    """Check the direction in training mode, with checkpointing on.

    The first token must see the last one (or not, if causal), and the next text must see neither.
    """
    model: Any = encoder.backbone
    batch = batch_of(encoder, [cut_row(row, 8) for row in rows_of(encoder)[:2]])
    length = batch.plan.lengths[0]
    far = farthest(encoder, length)
    other = changed(batch.input_ids, far)
    states = []
    with (
        training_mode(model),
        checkpointing(model, getattr(model, "supports_gradient_checkpointing", False)),
    ):
        for ids in (batch.input_ids, other):
            torch.manual_seed(0)  # the same dropout both times
            states.append(
                encoder.states(TokenBatch(ids, batch.plan, batch.pool, batch.rows)).detach()
            )
    seen = distance(states[1][:1], states[0][:1])
    leak = distance(states[1][length:], states[0][length:])
    figure = f"{seen:.1e} | {leak:.1e}"
    expected = encoder.direction == "bidirectional"
    if (seen > INFLUENCE) != expected:
        return Check(
            name,
            False,
            figure,
            f"in training mode token 1 {'does not see' if expected else 'sees'} token {far + 1}",
        )
    if leak > INFLUENCE:
        return Check(
            name, False, figure, "in training mode a token of text 2 sees a token of text 1"
        )
    return Check(name, True, figure, f"in training mode the model is {encoder.direction} too")


def adapters(encoder: EncoderModule, name: str, quick: bool) -> Check:
    """Check that an adapter gives the same vectors separately and merged into the weights.

    It is the encoder's own adapter, or a random one if it has none.
    """
    from bothways.backbone.adapter.lora import adapter_off, lora_layers

    batch = batch_of(encoder, rows_of(encoder)[:3])
    own = any(True for _ in lora_layers(encoder.backbone))
    with (
        evaluation_mode(encoder.backbone),
        nullcontext() if own else random_adapter(encoder.backbone),
    ):
        beside = encoder(batch)
        with adapter_off(encoder.backbone):
            plain = encoder(batch)
        with merged(encoder.backbone):
            inside = encoder(batch)
    effect, off = compare_vectors(encoder, beside, plain), compare_vectors(encoder, inside, beside)
    if not own and effect.value < 1e-6:
        return Check(
            name,
            False,
            effect.figure,
            "a random adapter changed nothing: it does not reach the layers",
        )
    # Half precision rounds the merged weights, but a wrong merge is off by the adapter's whole
    # effect.
    wrong = off.exceeds(ROUNDED) and not (off.half and off.value < effect.value / 4)
    which = "the encoder's adapter" if own else "a random adapter"
    return Check(
        name,
        not wrong,
        off.figure,
        f"{which} {'changes' if wrong else 'keeps'} the vectors when it is merged",
    )
