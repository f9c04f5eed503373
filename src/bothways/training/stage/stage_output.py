"""Finishes a stage: merges the adapter, verifies the merge, and records the stage's provenance.

Precision matters most here. An adapter is merged in float32 into the weights as they were stored,
not into the bfloat16 copy that training ran on, because its rounding is as large as many updates.
The files are written by `product.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bothways.backbone.adapter.lora import adapter_state, attach, load_adapter_state, merge_adapter
from bothways.encoder.encoder import Encoder
from bothways.training.loop.checkpoints import StageState
from bothways.training.stage.encoder_options import train_new_tokens
from bothways.training.stage.kept_adapters import save_kept
from bothways.training.stage.product import product_of
from bothways.training.stage.stage_context import StageContext
from bothways.training.stage.stage_data import StageData
from bothways.training.stage.stage_setup import open_stage

PROBE_TEXTS = 8
PROBE_TOKENS = 64


def merge_stage(
    context: StageContext,
    encoder: Encoder,
    texts: list[str],
    trained: dict[str, Tensor] | None = None,
) -> tuple[Encoder, float | None]:
    """Merge the stage's adapter into its encoder, in float32.

    Args:
        context: the stage that has been trained.
        encoder: as trained. It must not be used afterwards.
        texts: the first few are the probe on which adapter and merged weights are compared.
        trained: the backbone's trained parameters (`sharding.trained_state`) if the encoder is
            sharded. The result is then on the CPU. If None, the encoder holds them.

    Returns:
        The encoder, and the largest relative difference between its hidden states and the
            adapter's, or None without an adapter.

    Raises:
        RuntimeError: if the merged weights do not give the adapter's states.
    """
    stage = context.stage
    encoder.eval()
    backbone: Any = encoder.backbone
    if stage.gradient_checkpointing:
        (
            getattr(backbone, "activation_checkpointing_disable", None)
            or backbone.gradient_checkpointing_disable
        )()
    rounded = stage.adapter is not None and any(
        each.dtype != torch.float32 for each in encoder.backbone.parameters()
    )
    # A base that was rounded to 4 bits need not fit on the device in float32.
    fits = stage.adapter is None or not stage.adapter.load_in_4bit
    if rounded or trained is not None:
        device = encoder.device if trained is None and fits else torch.device("cpu")
        state = adapter_state(encoder.backbone) if trained is None else trained
        pooling = encoder.pooling  # float32 already, and trained
        del encoder, backbone  # so that two models are never in memory
        encoder = _opened_again(context, state, device)
        encoder.pooling = pooling.to(device)
        encoder.eval()
    save_kept(encoder, context, causal=product_of(stage).causal)
    if stage.adapter is None:
        return encoder, None
    # Probe under the default prompt, so that new tokens in it are verified too.
    prompt = encoder.prompt() or ""
    room = len(encoder.tokenize([(prompt, "")])[0].ids)
    rows = encoder.tokenize(texts[:PROBE_TEXTS], prompt=prompt, max_length=PROBE_TOKENS + room)
    probe = encoder.pack(rows).to(encoder.device)

    def states() -> Tensor:
        return encoder.states(probe)

    difference = merge_adapter(encoder.backbone, verify=states)
    encoder.requires_grad_(False)
    return encoder, difference


def _opened_again(context: StageContext, state: dict[str, Tensor], device: torch.device) -> Encoder:
    """Open the stage's start in float32, and put the trained parameters on it."""
    encoder = open_stage(context, device=device, dtype=torch.float32)
    if context.stage.adapter is not None:
        attach(encoder.backbone, context.stage.adapter, whole_base=True)
    else:
        encoder.requires_grad_(True)
    train_new_tokens(encoder, context.recipe, context.stage)
    load_adapter_state(encoder.backbone, state)
    return encoder


def record(
    encoder: Encoder,
    context: StageContext,
    *,
    data: StageData,
    state: StageState,
    trainable: int,
    difference: float | None,
) -> None:
    """Add the stage to the encoder's provenance.

    Args:
        encoder: its provenance changes.
        context: the stage.
        data: data that the stage was trained on.
        state: state of the stage after its last step.
        trainable: number of trained parameters.
        difference: from `merge_stage`.
    """
    stage, recipe = context.stage, context.recipe
    entry = {
        "name": stage.name,
        "objective": stage.objective.model_dump(mode="json"),
        "adapter": None if stage.adapter is None else stage.adapter.model_dump(mode="json"),
        "data": data.origin,
        "seed": recipe.seed,
        "steps": state.step,
        "tokens": state.tokens,
        "seconds": round(state.seconds, 1),
        "trainable": trainable,
        "loss": {"first": state.losses[0], "last": state.losses[-1]},
        "best": state.best,
        "merge_difference": difference,
        "recipe": recipe.fingerprint(),
    }
    encoder.provenance["stages"] = [*encoder.provenance.get("stages", []), entry]
