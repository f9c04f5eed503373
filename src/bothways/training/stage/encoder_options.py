"""The recipe's choices for an encoder, besides its weights: prompts, special tokens, positions."""

from __future__ import annotations

import os
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from bothways.backbone.adapter.adapter_files import local_adapter
from bothways.backbone.adapter.merging import adapter_rope
from bothways.backbone.adapter.new_tokens import add_tokens, train_rows
from bothways.backbone.loading.hub import adapter_snapshot
from bothways.backbone.loading.model_source import Source, locate
from bothways.backbone.rope import RopeConfig, trained_positions
from bothways.backbone.tokenizer.preparation import append_eos, prepend_bos
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder.adapter_settings import read_settings
from bothways.encoder.texts.wrapping import Wrapper
from bothways.errors import SourceError
from bothways.folder_files import ADAPTER, LLM2VEC, MODULES
from bothways.training.loop.randomness import derive
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.stage_config import Stage
from bothways.training.stage.stage_context import StageContext


def convert_options(recipe: Recipe) -> dict[str, Any]:
    """Return the keyword arguments of `encoder.convert.convert` that make the recipe's encoder."""
    return {
        "direction": recipe.direction,
        "pooling": recipe.pooling,
        "pool_bos": recipe.pool_bos,
        "pool_prompt": bool(recipe.pool_prompt),
        "add_bos": bool(recipe.add_bos),
        "add_eos": bool(recipe.add_eos),
        "wrapper": astuple(_wrapper(recipe, Wrapper())),
        "prompts": recipe.prompts,
        "default_prompt": recipe.default_prompt,
        "seed": derive(recipe.seed, "pooling"),
    }


def set_options(encoder: Encoder, recipe: Recipe) -> None:
    """Set the recipe's options on a finished encoder.

    Options that the recipe leaves open stay as they are.
    """
    options = encoder.options
    options.prompts = {**options.prompts, **recipe.prompts}
    options.default_prompt = recipe.default_prompt or options.default_prompt
    options.wrapper = _wrapper(recipe, options.wrapper)
    if not recipe.pool_bos:
        options.pool_bos = False
    if recipe.pool_prompt is not None:
        options.pool_prompt = recipe.pool_prompt
    if recipe.add_bos:
        prepend_bos(encoder.tokenizer)
    if recipe.add_eos:
        append_eos(encoder.tokenizer)
    add_new_tokens(encoder, recipe)


def add_new_tokens(encoder: Encoder, recipe: Recipe) -> None:
    """Add the recipe's new tokens, if it has any, to the tokenizer and the embeddings."""
    if recipe.new_tokens:
        add_tokens(
            encoder.backbone,
            encoder.tokenizer,
            recipe.new_tokens,
            seed=derive(recipe.seed, "new tokens"),
        )


def train_new_tokens(encoder: Encoder, recipe: Recipe, stage: Stage) -> None:
    """Train the embedding rows of the recipe's new tokens together with an attached adapter.

    Nothing happens if the stage's objective does not want it, or if every weight trains already.
    """
    if recipe.new_tokens and stage.adapter is not None and stage.objective.trains_new_tokens:
        ids: Any = encoder.tokenizer.convert_tokens_to_ids(list(recipe.new_tokens))
        train_rows(encoder.backbone, ids)


def base_positions(context: StageContext) -> RopeConfig | None:
    """Return the positions of a run's base: the recipe's own, or those of its adapter.

    If both are None, the base keeps its positions.

    Raises:
        InputError: if the recipe's positions do not fit the adapter.
    """
    own, wish = adapter_rope(context.base_adapter), context.recipe.rope
    return own if wish is None else trained_positions(wish, own, context.base_adapter)


def is_encoder_folder(base: str | os.PathLike[str]) -> bool:
    """Tell if `base` holds a finished encoder, whole or as an adapter with its settings.

    A hub id is read like a folder. Without a network, files that are not in the hub's cache count
    as absent. A name that leads nowhere holds none.

    Raises:
        SourceError: if the hub cannot answer, for example because there is no such repository.
    """
    try:
        source = locate(base)
    except SourceError:
        return False
    if any(source.holds(file) for file in (MODULES, LLM2VEC)):
        return True
    return source.holds(ADAPTER) and read_settings(adapter_folder(source)) is not None


def adapter_folder(base: Source) -> Path:
    """Return the folder of an adapter. One on the hub is downloaded first.

    Raises:
        SourceError: if the hub cannot be reached.
    """
    return adapter_snapshot(base.path) if base.kind == "hub" else local_adapter(base)


def _wrapper(recipe: Recipe, default: Wrapper) -> Wrapper:
    """Return the recipe's wrapper and joint. Use those of `default` that the recipe leaves open."""
    wrapper = default if recipe.wrapper is None else Wrapper(*recipe.wrapper)
    return wrapper if recipe.joint is None else replace(wrapper, joint=recipe.joint)
