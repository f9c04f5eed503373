"""Opens the base model's language-model head, for the objectives that need one."""

from __future__ import annotations

import logging
from typing import Any

import torch

from bothways.backbone.head import Head
from bothways.backbone.loading.model_source import resolve
from bothways.backbone.loading.sources import load_pretrained
from bothways.backbone.rope import rope_overrides
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.training.stage.encoder_options import base_positions, is_encoder_folder
from bothways.training.stage.language_model import history
from bothways.training.stage.stage_context import StageContext

log = logging.getLogger("bothways")

HEADED = ("mntp", "llara")
"""Objectives that train the head if every weight trains. Encoders do not keep it when they are
saved.
"""


def open_head(
    context: StageContext, encoder: Encoder, dtype: torch.dtype, *, grow: bool = False
) -> Head | None:
    """Load the head of the base that an encoder was made from.

    The encoder's provenance names the base, because an encoder folder has no head. A tied head gets
    the encoder's embeddings: the base's own would not fit states of a decoder with embeddings that
    a stage or an adapter has trained.

    Args:
        context: the stage. If its encoder was made from the recipe's base, the head belongs to a
            config with the recipe's positions.
        encoder: opened for the stage.
        dtype: type of the head's weights.
        grow: if True, add output rows for tokens that the encoder has and the head does not.

    Returns:
        The head, or None if the objective does not need one.

    Raises:
        InputError: if there is no base with a head.
    """
    recipe, stage = context.recipe, context.stage
    if not stage.objective.needs_head:
        return None
    base = str(encoder.provenance.get("base", recipe.base))
    if is_encoder_folder(base):
        raise InputError(
            f"stages.{stage.name}: {stage.objective.kind} needs a language-model head, and {recipe.base} is an encoder without "
            "one; start from the base LLM"
        )
    rope = base_positions(context) if base == recipe.base else None
    source = resolve(base)
    overrides = rope_overrides(source, rope) if rope is not None else None
    head = load_pretrained(
        source, dtype=dtype, device=encoder.device, head=True, config_overrides=overrides
    ).head
    if head is None:
        return None
    if grow:
        head.make_room(encoder.backbone)
    head.take(encoder.backbone)
    if not head.tied and lost_head(encoder, base):
        log.warning(
            "stages.%s: an earlier stage trained every weight and a head of its own, which encoders do not keep; "
            "the head of %s is used",
            stage.name,
            base,
        )
    return head


def lost_head(encoder: Encoder, base: str) -> bool:
    """Tell from the provenance if an earlier stage trained a head that is lost now.

    This is so if a stage over encoders trained every weight. Stages of the base itself, which is
    then a language model, kept theirs.
    """
    stages: Any = encoder.provenance.get("stages", ())
    since = stages[len(history(base).get("stages", ())) :]
    return any(
        stage.get("adapter") is None and stage["objective"]["kind"] in HEADED for stage in since
    )
