"""LLM2Vec's own train configurations as recipes, without changes to the files.

These are train_configs/mntp/*.json, simcse/*.json and supervised/*.json. There are three kinds of
keys: those with a meaning here, those that only steer the Hugging Face Trainer (named once in a log
line), and all others, which are refused with the nearest name. An absent key has the value that it
would have had there: LLM2Vec's own defaults (experiments/run_mntp.py, run_simcse.py,
run_supervised.py) and transformers' TrainingArguments.

Source of names and defaults: McGill-NLP/llm2vec @312adcf.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from bothways.backbone.adapter.adapter_files import adapter_fingerprint, local_adapter, merged_in
from bothways.backbone.origin import origin
from bothways.config import parse
from bothways.encoder.folder.llm2vec_texts import JOINT, text_wrapper
from bothways.errors import InputError
from bothways.objectives.masking import MASK
from bothways.training.recipe.llm2vec_keys import SCRIPTS, kind_of, sort_keys
from bothways.training.recipe.llm2vec_stages import STAGES
from bothways.training.recipe.recipe import Recipe

log = logging.getLogger("bothways")

POOLINGS = {
    "mean": "mean",
    "weighted_mean": "weighted_mean",
    "eos_token": "eos",
    "bos_token": "bos",
    "last_token": "last",
}


def recipe_of(
    values: Mapping[str, Any],
    *,
    where: str,
    base: str | None = None,
    data: tuple[str, ...] | None = None,
) -> Recipe:
    """Make a recipe of one stage with the numbers of an LLM2Vec configuration.

    Args:
        values: the JSON object.
        where: its file name, for messages.
        base: replaces model_name_or_path, and the adapter that belongs to it.
        data: training texts or labeled rows that replace the configuration's.

    Raises:
        InputError: if it is not a configuration of one of the three scripts, if a key is unknown,
            or if a value does not fit.
    """
    kind = kind_of(values, where)
    ours, ignored = sort_keys(values, SCRIPTS[kind], where)
    if ignored:
        log.info(
            "%s: ignored, because they have no meaning here: %s", where, ", ".join(sorted(ignored))
        )
    config: Any = parse(SCRIPTS[kind], ours, where=where)
    _say_differences(config, where)
    start = base or config.model_name_or_path
    if start is None:
        raise InputError(
            f"{where}: model_name_or_path is missing; name the base model there or with --base"
        )
    stage = STAGES[kind](config, where, data)
    recipe: dict[str, Any] = {
        "name": f"llm2vec-{kind}",
        "base": start,
        "dtype": "auto" if config.torch_dtype == "float16" else config.torch_dtype,
        "seed": config.seed,
        "stages": [{**stage, "name": kind}],
    }
    if config.save_total_limit is not None:
        recipe["keep_checkpoints"] = config.save_total_limit
    if kind == "mntp" and config.mask_token_type == "mask":
        recipe["new_tokens"] = [MASK]
    if kind != "mntp":
        recipe |= {
            "direction": "bidirectional" if config.bidirectional else "causal",
            "pooling": POOLINGS[config.pooling_mode],
            # The adapter was trained on the configuration's own base.
            "base_adapter": _adapter_over(base, config.peft_model_name_or_path, where),
        }
    recipe |= _texts_of(start, getattr(config, "pooling_mode", "mean"))
    return Recipe.from_values(recipe, where=where)


def _say_differences(config: Any, where: str) -> None:
    """Log if attention or number type are not those of the configuration."""
    if config.attn_implementation != "sdpa" or config.torch_dtype == "float16":
        log.info(
            "%s: attention runs through this library's own kernel (attn_implementation %s)%s",
            where,
            config.attn_implementation,
            "; torch_dtype float16 needs loss scaling, so dtype auto is used"
            if config.torch_dtype == "float16"
            else "",
        )


def _adapter_over(base: str | None, adapter: str | None, where: str) -> str | None:
    """Return the configuration's adapter, or None if the base was replaced and does not need it.

    This is so if the adapter belongs to another base, or is already merged in the new one.
    """
    if base is None or adapter is None:
        return adapter
    folder = local_adapter(adapter)
    if adapter_fingerprint(folder) in merged_in(base):
        log.info("%s: peft_model_name_or_path %s is merged in %s already", where, adapter, base)
        return None
    named, given = origin(folder), origin(base)
    if folder.is_dir() and (named.name, named.stated) == (given.name, given.stated):
        return adapter
    log.info(
        "%s: peft_model_name_or_path %s belongs to the replaced base, so it is ignored",
        where,
        adapter,
    )
    return None


def _texts_of(base: str, pooling: str) -> dict[str, Any]:
    """Return the recipe values that treat texts like `LLM2Vec.from_pretrained`, for every script.

    It puts a chat wrapper around a text and EOS after it (for eos_token), and does not pool BOS.
    """
    plain = text_wrapper(base)
    around = text_wrapper(base, eos=pooling == "eos_token")
    # The family of a hub id is not known before the model is read. For all published bases the
    # tokenizer's EOS is the same token.
    unknown = pooling == "eos_token" and around == plain and not plain.suffix.endswith("<|eot_id|>")
    return {
        "wrapper": [around.prefix, around.suffix] if around.prefix or around.suffix else None,
        "joint": JOINT,
        "add_eos": unknown or None,
        "pool_bos": pooling == "bos_token",
    }
