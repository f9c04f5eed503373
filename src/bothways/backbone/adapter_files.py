"""A LoRA adapter on disk: peft's folder, and beside it the parameters that were trained whole.

    adapter_config.json, adapter_model.safetensors     what peft writes and reads
    trainable_params.safetensors                       LoRA+: embeddings and norms, by their names in the causal LM
    bothways.json                                      what it needs of its base and peft's config has no place for

LongLoRA publishes the second part as trainable_params.bin (https://arxiv.org/abs/2309.12307, `get_trainable_weights.py`); both are
read. It stands apart from `adapters`, which changes models: here are names and files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bothways.atomic import atomic_folder
from bothways.backbone.adapters import LoraConfig, adapter_state, lora_layers, peft_config
from bothways.backbone.rope import RopeConfig
from bothways.errors import InputError

WHOLE = "trainable_params.safetensors"
PUBLISHED_WHOLE = "trainable_params.bin"
NEEDS = "bothways.json"


class Needs(NamedTuple):
    """What an adapter was trained on, beside the base that peft's config names.

    Attributes:
        rope: positions that the base was given.
        base_adapter: an adapter that was merged into the base before.
        whole: parameters that were trained whole and lie beside the factors.
    """

    rope: RopeConfig | None = None
    base_adapter: str | None = None
    whole: int = 0


def read_needs(folder: Path) -> Needs:
    """What the adapter of a folder says it needs; nothing where another tool wrote it.

    Raises:
        InputError: its file is broken, or the parameters that were trained whole are missing.
    """
    place = folder / NEEDS
    if not place.is_file():
        return Needs()
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        needs = Needs(
            None if found["rope"] is None else RopeConfig.of(found["rope"]), found["base_adapter"], int(found["whole"])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{place}: broken ({str(error).splitlines()[0]}); write the adapter again") from error
    if needs.whole and not any((folder / name).is_file() for name in (WHOLE, PUBLISHED_WHOLE)):
        raise InputError(f"{folder}: {WHOLE} is missing; {needs.whole} parameters were trained whole beside this adapter")
    return needs


def save_adapter(
    model: nn.Module,
    config: LoraConfig,
    folder: str | os.PathLike[str],
    *,
    base: str,
    rope: RopeConfig | None = None,
    base_adapter: str | None = None,
) -> None:
    """Write the adapter of `model`; plain peft loads its factors over the causal LM, `merge_saved` all of it over the decoder.

    Args:
        model: bare decoder with the adapter attached.
        config: what was attached.
        folder: where; replaced as a whole.
        base: name of the model that it belongs to.
        rope: positions that this was given before.
        base_adapter: adapter that was merged into it before.
    """
    state = adapter_state(model)
    prefix = _prefix(model)
    factors = {name: value for name, value in state.items() if ".lora_" in name}
    whole = {f"{prefix}{name}": value.contiguous() for name, value in state.items() if name not in factors}
    named = {f"base_model.model.{prefix}{name.replace('.default', '')}": value.contiguous() for name, value in factors.items()}
    targets = [name for name, _ in lora_layers(model)] if isinstance(config.targets, str) else list(config.targets)
    needs = {"rope": None if rope is None else rope.model_dump(mode="json"), "base_adapter": base_adapter, "whole": len(whole)}
    written = peft_config(config, targets, base_model_name_or_path=base, task_type="CAUSAL_LM", inference_mode=True)
    with atomic_folder(folder, replace=True) as part:
        written.save_pretrained(str(part))
        save_file(named, part / "adapter_model.safetensors", metadata={"format": "pt"})
        if whole:
            save_file(whole, part / WHOLE, metadata={"format": "pt"})
        (part / NEEDS).write_text(json.dumps(needs, indent=2) + "\n", encoding="utf-8", errors="backslashreplace")


def put_whole(model: nn.Module, folder: Path) -> list[str]:
    """Copy the parameters that were trained whole, where the folder has any, into `model`; their names.

    Embeddings with more rows than the model's, for tokens that were added before training, make it larger.

    Raises:
        InputError: a parameter that the model has not, or not in this shape.
    """
    found = _read_whole(folder)
    _make_room(model, {bare(name, model): value for name, value in found.items()})
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in found.items():
            place = own.get(bare(name, model))
            if place is None or place.shape != value.shape:
                shape = "none" if place is None else tuple(place.shape)
                raise InputError(
                    f"{folder}: {name} of shape {tuple(value.shape)} does not fit {type(model).__name__} ({shape}); is the base right?"
                )
            place.copy_(value)
    return [bare(name, model) for name in found]


def _make_room(model: Any, found: Mapping[str, Tensor]) -> None:
    """Rows for tokens that training has added: LongLoRA's published models have 32,001, a padding token more than Llama 2."""
    weight = model.get_input_embeddings().weight
    name = next(name for name, parameter in model.named_parameters() if parameter is weight)
    value = found.get(name)
    if value is not None and value.shape[1:] == weight.shape[1:] and len(value) > len(weight):
        model.resize_token_embeddings(len(value), mean_resizing=False)


def bare(name: str, model: nn.Module) -> str:
    """A parameter's name in the bare decoder, from its name there or in the causal LM."""
    for prefix in (_prefix(model), "model."):
        if prefix and name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _prefix(model: Any) -> str:
    slot = getattr(model, "base_model_prefix", "")
    return f"{slot}." if slot else ""


def _read_whole(folder: Path) -> dict[str, Tensor]:
    if (folder / WHOLE).is_file():
        return load_file(folder / WHOLE)
    if (folder / PUBLISHED_WHOLE).is_file():
        return torch.load(folder / PUBLISHED_WHOLE, map_location="cpu", weights_only=True)
    return {}
