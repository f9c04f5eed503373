"""Prepares a stage for training: opens its start, attaches the adapter, builds the objective.

Training and the dry run begin alike here. They end differently: only training leaves a product,
see `stage_output.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from bothways.backbone.adapter.four_bits import check_installed
from bothways.backbone.adapter.lora import attach
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.objectives.objective import Objective
from bothways.training.loop.precision import NumberTypes, autocast
from bothways.training.stage.base_encoder import open_base
from bothways.training.stage.encoder_options import train_new_tokens
from bothways.training.stage.heldout import HeldOut
from bothways.training.stage.product import product_of
from bothways.training.stage.stage_context import StageContext
from bothways.training.stage.stage_data import read_data


def open_stage(context: StageContext, *, device: torch.device, dtype: torch.dtype) -> Encoder:
    """Open the start of a stage: the recipe's base, or the product of the stage before."""
    before = context.before
    if before is None:
        return open_base(context, device=device, dtype=dtype)
    product = product_of(before.stage)
    return product.open(
        before.output,
        context.recipe,
        following=product_of(context.stage),
        device=device,
        dtype=dtype,
    )


def start_device(
    context: StageContext, device: torch.device
) -> tuple[torch.device, Callable[[Encoder], None] | None]:
    """Say on which device a stage's start is opened, and how it gets to the one that trains it.

    A base that is rounded to 4 bits need not fit on the device before. So it is opened and rounded
    on the CPU.

    Args:
        context: the stage.
        device: device that trains the stage.

    Returns:
        The first device, and the `place` of `ready`.

    Raises:
        MissingExtra: if the stage wants 4 bits, and bitsandbytes is not installed.
    """
    adapter = context.stage.adapter
    if adapter is None or not adapter.load_in_4bit:
        return device, None
    check_installed()

    def place(encoder: Encoder) -> None:
        encoder.to(device)

    return torch.device("cpu"), place


def open_heldout(
    context: StageContext, encoder: Encoder, objective: Objective[Any], held_out: Sequence[Any]
) -> HeldOut | None:
    """Build the reader of the loss on held-out data, or return None if the stage has none.

    Args:
        context: the stage.
        encoder: opened for it.
        objective: built for it.
        held_out: rows of the stage's own data that are held out. They are used if the config names
            no other data.
    """
    stage, config = context.stage, context.stage.heldout
    if config is None:
        return None
    rows = held_out if config.data is None else read_data(config.data, stage.objective.wants).items
    if not rows:
        return None
    return HeldOut(
        objective,
        encoder,
        rows,
        size=stage.batch.size,
        limit=config.limit,
        seed=context.recipe.seed,
    )


@contextmanager
def ready(
    context: StageContext,
    encoder: Encoder,
    chosen: NumberTypes,
    place: Callable[[Encoder], None] | None = None,
) -> Iterator[Objective[Any]]:
    """Make an opened encoder trainable and build the stage's objective.

    Inside the block both run in the stage's precision. Afterwards the encoder is without autocast
    and has its own dropout rates again. What was trained stays in it.

    Args:
        context: the stage.
        encoder: opened for it.
        chosen: its precision.
        place: moves the trainable encoder to the devices that it is trained on. If None, it is
            there already.
    """
    recipe, stage = context.recipe, context.stage
    head = product_of(stage).open_head(context, encoder, chosen.weights)
    _make_trainable(encoder, context)
    train_new_tokens(encoder, recipe, stage)
    if place is not None:
        place(encoder)
    objective = _build_objective(context, encoder, head)
    try:
        with ExitStack() as stack:
            for module in (encoder.backbone, getattr(objective, "head", None)):
                if module is not None:
                    stack.enter_context(autocast(module, chosen))
            yield objective
    finally:
        objective.release()


def _make_trainable(encoder: Encoder, context: StageContext) -> None:
    """Attach the stage's adapter, or let every weight train.

    A pooling with parameters trains as a whole if the objective uses pooled vectors. Gradient
    checkpointing is switched on if the stage wants it.
    """
    stage = context.stage
    backbone: Any = encoder.backbone
    encoder.requires_grad_(False)
    if stage.adapter is not None:
        attach(backbone, stage.adapter, seed=context.seed("adapter"))
    else:
        encoder.requires_grad_(True)
    encoder.pooling.requires_grad_(stage.objective.pools)
    if stage.gradient_checkpointing:
        # Renamed in transformers 5.2. Non-reentrant, because the embeddings below an adapter need
        # no gradient.
        enable = (
            getattr(backbone, "activation_checkpointing_enable", None)
            or backbone.gradient_checkpointing_enable
        )
        try:
            enable({"use_reentrant": False})
        except ValueError as error:
            raise InputError(f"stages.{stage.name}.gradient_checkpointing: {error}") from error


def _build_objective(
    context: StageContext, encoder: Encoder, head: nn.Module | None
) -> Objective[Any]:
    """Build the stage's objective on the encoder's device.

    Its trained parameters are float32, and initialized from the stage's seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(context.seed("objective"))
        objective = context.stage.objective.build(encoder, head)
    objective.to(encoder.device)
    for parameter in objective.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    objective.hand_over(encoder)
    return objective
