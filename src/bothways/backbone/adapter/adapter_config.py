"""Reads adapter_config.json: peft's configuration of an adapter, as any trainer writes it.

peft ignores fields that it does not know, with a warning, and some that it knows cannot be merged.
This module refuses both by name, before any weights are read.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bothways.errors import InputError
from bothways.folder_files import ADAPTER
from bothways.foreign import foreign, one_line, read_object

if TYPE_CHECKING:
    from peft import PeftConfig

# Known fields with an effect that weights cannot hold, and the reason.
_UNMERGEABLE = {
    "alora_invocation_tokens": "acts only after certain tokens of a text",
    "arrow_config": "chooses between adapters for each token",
    "layer_replication": "gives the model more layers that share weights, which peft cannot merge",
    "megatron_config": "belongs to a model of Megatron-LM, whose layers are others",
}
# Fields of other trainers, and of older versions of peft, that act only in training.
_TRAINING_ONLY = frozenset(
    {
        "enable_lora",
        "merge_weights",
        "lora_dtype",
        "lorap_lr_ratio",
        "lorap_emb_lr",
        "unsloth_version",
        "unsloth_fixed",
    }
)


def read_adapter_config(folder: Path) -> PeftConfig:
    """Read peft's configuration of the adapter in `folder`, ready to be attached to any model.

    Raises:
        InputError: if the file is damaged or does not belong to a PEFT adapter, if this kind of
            adapter does not hold weights to merge, or if a setting cannot be followed.
    """
    from peft import PeftConfig
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    file = folder / ADAPTER
    values = read_object(file)
    if "peft_type" not in values and {"r", "target_modules"} <= values.keys():
        values["peft_type"] = "LORA"
    kind = values.get("peft_type")
    known: Any = PEFT_TYPE_TO_CONFIG_MAPPING
    config_class = known.get(kind) if isinstance(kind, str) else None
    if config_class is None:
        raise InputError(
            f"{file}: peft_type {one_line(repr(kind), 60)} is not one of peft's; expected LORA or another adapter of weights"
        )
    _refuse_fields(file, values, {each.name for each in fields(config_class)})
    plain = {
        name: value
        for name, value in values.items()
        if name in {each.name for each in fields(config_class)}
    }
    with foreign(
        file,
        "cannot be read as an adapter's configuration",
        "compare it with the one that its trainer wrote",
    ):
        config: Any = PeftConfig.from_peft_type(**plain)
        _check_types(config)
    if config.is_prompt_learning or config.peft_type.value in (
        "ADAPTION_PROMPT",
        "XLORA",
        "POLY",
        "MIXED",
    ):
        raise InputError(
            f"{file}: peft_type {kind} adds inputs or layers at run time, which weights cannot hold; give a LoRA adapter"
        )
    config.inference_mode = True
    # the model around it is a plain one, neither a generator nor a classifier
    config.task_type = None
    config.base_model_name_or_path = None
    found: PeftConfig = config
    return found


def _refuse_fields(file: Path, values: dict[str, Any], known: set[str]) -> None:
    for name, why in _UNMERGEABLE.items():
        if name in known and values.get(name):
            raise InputError(
                f"{file}: {name} is set, which {why}; merge the adapter with its own trainer, and give the merged model"
            )
    for name, value in values.items():
        if (
            name not in known
            and name not in _TRAINING_ONLY
            and value not in (None, False, "", [], {})
        ):
            raise InputError(
                f"{file}: the field {one_line(name, 60)!r} ({one_line(repr(value), 60)}) is unknown to this peft, "
                "so it would be ignored; update peft, or remove the field if it acts only in training"
            )


def _check_types(config: PeftConfig) -> None:
    """Raise TypeError for values that peft accepts now and fails on or computes with later."""
    defaults = {each.name: each.default for each in fields(config)}
    for name in ("r", "lora_alpha"):
        value = getattr(config, name, 1)
        if value is None and defaults.get(name, 1) is None:
            continue  # SuperTuning without a low-rank part
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, and is {value!r:.60}")
    for name in ("rank_pattern", "alpha_pattern"):
        pattern = getattr(config, name, None) or {}
        if not isinstance(pattern, dict) or not all(
            isinstance(value, (int, float)) for value in pattern.values()
        ):
            raise TypeError(f"{name} must map module names to numbers, and is {pattern!r:.60}")
