"""Opens the encoder that the first stage starts from: the recipe's base, with its adapter merged.

The base is either a finished encoder or a base LLM, which is converted. A finished encoder must be
what the recipe says, because otherwise something else would be trained under the recipe's name.
"""

from __future__ import annotations

from typing import Any

import torch

from bothways.backbone.adapter.adapter_files import MERGED
from bothways.backbone.adapter.merging import adapter_rope, merge_saved
from bothways.backbone.loading.model_source import Source
from bothways.backbone.rope import say_further
from bothways.encoder.encoder import Encoder
from bothways.encoder.load import load
from bothways.errors import InputError
from bothways.pooling import PoolingConfig
from bothways.training.loop.randomness import derive
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.encoder_options import base_positions, is_encoder_folder, set_options
from bothways.training.stage.product import product_of
from bothways.training.stage.stage_context import StageContext


def open_base(context: StageContext, *, device: torch.device, dtype: torch.dtype) -> Encoder:
    """Open the recipe's base for a stage, which is the first one unless a dry run measures another.

    Args:
        context: the stage.
        device: device of the encoder.
        dtype: type of the weights. A saved adapter is merged in float32 first.

    Raises:
        InputError: if the base is a finished encoder and the stage needs a base LLM, or if the
            encoder does not fit the recipe.
    """
    recipe, product = context.recipe, product_of(context.stage)
    adapter = context.base_adapter
    first = torch.float32 if adapter is not None else dtype
    rope = base_positions(context)
    trained = adapter_rope(adapter)
    if rope is not None and trained is not None and rope.context > trained.context:
        say_further(adapter, trained, rope)
    base = context.base
    if is_encoder_folder(base):
        product.check_base(context)
        if rope is not None:
            raise InputError(
                f"rope: sets a base's positions, and {recipe.base} is a finished encoder; start from the base LLM"
            )
        encoder = _finished_encoder(base, recipe, device=device, dtype=first)
    else:
        encoder = product.convert(base, recipe, device=device, dtype=first, rope=rope)
    if adapter is not None:
        held = encoder.provenance.get(MERGED, [])
        encoder.provenance[MERGED] = merge_saved(encoder.backbone, adapter, held)
        encoder.backbone.to(dtype)
        encoder.provenance["base_adapter"] = recipe.base_adapter
    return encoder


def _finished_encoder(
    base: Source, recipe: Recipe, *, device: torch.device, dtype: torch.dtype
) -> Encoder:
    encoder = load(base, device=device, dtype=dtype)
    _check_fits(encoder, recipe)
    _fit_pooling(encoder, recipe)
    set_options(encoder, recipe)
    return encoder


def _check_fits(encoder: Encoder, recipe: Recipe) -> None:
    """Refuse a finished encoder that differs from the recipe.

    Raises:
        InputError: if its direction differs, if its pooling differs and has no parameters, or if it
            lacks new tokens that no stage trains.
    """
    if encoder.direction != recipe.direction:
        raise InputError(
            f"direction: {recipe.base} is a {encoder.direction} encoder and the recipe {recipe.name} is {recipe.direction}; "
            f"set direction={encoder.direction}, or start from the base LLM"
        )
    wanted = PoolingConfig.of(recipe.pooling)
    if not wanted.trained and not wanted.fits(encoder.pooling, encoder.hidden_size):
        own: Any = encoder.pooling
        found = getattr(own, "settings", None) or {
            "mode": own.mode,
            **({"tokens": own.tokens} if own.mode == "last_tokens" else {}),
        }
        raise InputError(
            f"pooling: {recipe.base} has {own.mode} pooling, but the recipe {recipe.name} has {wanted.mode}, which its prompts are "
            f"made for; if they fit both, set pooling={found}"
        )
    vocabulary = encoder.tokenizer.get_vocab()
    missing = [token for token in recipe.new_tokens or () if token not in vocabulary]
    if missing and not any(stage.objective.trains_new_tokens for stage in recipe.stages):
        raise InputError(
            f"new_tokens: {recipe.base} has no {missing[0]}, and no stage of the recipe {recipe.name} trains it; start with a "
            "stage that does, or with the options that the encoder was made with"
        )


def _fit_pooling(encoder: Encoder, recipe: Recipe) -> None:
    """Give a finished encoder the trained pooling that the recipe wants, unless it has it already.

    Raises:
        InputError: if the encoder has a trained pooling of another kind or size. Its weights would
            be lost.
    """
    wanted = PoolingConfig.of(recipe.pooling)
    if not wanted.trained or wanted.fits(encoder.pooling, encoder.hidden_size):
        return
    if any(True for _ in encoder.pooling.parameters()):
        raise InputError(
            f"pooling: {recipe.base} has a trained pooling of its own ({encoder.pooling.extra_repr()}), the recipe wants "
            f"{wanted}; leave the recipe's pooling out, or give it these sizes"
        )
    encoder.pooling = wanted.build(encoder.hidden_size, seed=derive(recipe.seed, "pooling")).to(
        encoder.device
    )
