"""A LoRA adapter on disk: peft's folder, and beside it the parameters that were trained whole.

    adapter_config.json, adapter_model.safetensors     what peft writes and reads
    trainable_params.safetensors                       LoRA+: embeddings and norms, by their names in the causal LM
    bothways.json                                      what it needs of its base and peft's config has no place for

LongLoRA publishes the second part as trainable_params.bin (https://arxiv.org/abs/2309.12307, `get_trainable_weights.py`); both are
read. It stands apart from `adapters`, which changes models: here are names and files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bothways.atomic import atomic_folder
from bothways.backbone.adapters import LoraConfig, adapter_state, lora_layers, peft_config
from bothways.backbone.new_tokens import NewRows
from bothways.backbone.rope import RopeConfig
from bothways.errors import InputError
from bothways.foreign import foreign, read_object, read_tensors

WHOLE = "trainable_params.safetensors"
PUBLISHED_WHOLE = "trainable_params.bin"
NEEDS = "bothways.json"
FACTORS = ("adapter_model.safetensors", "adapter_model.bin")
#: Key of `bothways.json`, of an encoder or an adapter: fingerprints of the adapters that have been merged, in order.
MERGED = "merged_adapters"


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
    found = read_object(place, remedy="write the adapter again")
    with foreign(place, "broken", "write the adapter again"):
        needs = Needs(
            None if found["rope"] is None else RopeConfig.of(found["rope"]), found["base_adapter"], int(found["whole"])
        )
    if needs.base_adapter is not None and (folder / needs.base_adapter).is_dir():  # of the same run
        needs = needs._replace(base_adapter=str(folder / needs.base_adapter))
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
    causal: bool = True,
) -> None:
    """Write the adapter of `model`; plain peft loads its factors over the causal LM, `merge_saved` all of it over the decoder.

    Rows of new tokens that were trained are written with the whole embedding, which `merge_saved` puts in place.

    Args:
        model: bare decoder with the adapter attached.
        config: what was attached.
        folder: where; replaced as a whole.
        base: name of the model that it belongs to.
        rope: positions that this was given before.
        base_adapter: adapter that was merged into it before; a path is read from `folder` if it is there, e.g. ../1-mntp.
        causal: the factors are named in the causal LM. False names them in the bare decoder, over which LLM2Vec loads its adapters.
    """
    prefix = _prefix(model)
    state, table = adapter_state(model), _table_with_new_rows(model)
    state = {name: value for name, value in state.items() if ".lora_rows." not in name} | table
    factors = {name: value for name, value in state.items() if ".lora_" in name}
    whole = {f"{prefix}{name}": value.contiguous() for name, value in state.items() if name not in factors}
    inner = prefix if causal else ""
    named = {f"base_model.model.{inner}{name.replace('.default', '')}": value.contiguous() for name, value in factors.items()}
    targets = [name for name, _ in lora_layers(model)] if isinstance(config.targets, str) else list(config.targets)
    needs = {"rope": None if rope is None else rope.model_dump(mode="json"), "base_adapter": base_adapter, "whole": len(whole)}
    written = peft_config(
        config, targets, base_model_name_or_path=base, task_type="CAUSAL_LM" if causal else None, inference_mode=True
    )
    with atomic_folder(folder, replace=True) as part:
        written.save_pretrained(str(part))
        save_file(named, part / "adapter_model.safetensors", metadata={"format": "pt"})
        if whole:
            save_file(whole, part / WHOLE, metadata={"format": "pt"})
        (part / NEEDS).write_text(json.dumps(needs, indent=2) + "\n", encoding="utf-8", errors="backslashreplace")


def _table_with_new_rows(model: Any) -> dict[str, Tensor]:
    """The embedding by its name, with the rows of new tokens in place, if these train beside an adapter; else nothing."""
    embedding = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    if not isinstance(embedding, NewRows):
        return {}
    name = next(name for name, parameter in model.named_parameters() if parameter is embedding.base.weight)
    table = embedding.base.weight.detach().cpu().clone()
    table[embedding.ids.cpu()] = embedding.lora_rows.weight.detach().cpu().to(table)
    return {name.replace(".base.weight", ".weight"): table}


def fingerprint(folder: Path) -> str | None:
    """SHA-256 (hex) of an adapter's factors, by which it is known again wherever it lies; None if there are none."""
    file = next((folder / name for name in FACTORS if (folder / name).is_file()), None)
    if file is None:
        return None
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def merged_in(place: str | os.PathLike[str]) -> list[str]:
    """Fingerprints of the adapters that a saved model holds already: merged into its weights, or lying in its folder."""
    folder = Path(place).expanduser()
    try:
        found = json.loads((folder / NEEDS).read_text(encoding="utf-8"))
        stated = [str(each) for each in found[MERGED]]
    except (OSError, ValueError, KeyError, TypeError):
        stated = []
    own = fingerprint(folder)
    return stated if own is None or own in stated else [*stated, own]


def kept_adapter(run: Path) -> Path | None:
    """The adapter of a run's last stage, below its folder; None where the run keeps none, or is no run."""
    numbered = [each for each in (run / "adapters").glob("*-*") if each.name.split("-")[0].isdigit()]
    last = max(numbered, key=lambda each: int(each.name.split("-")[0]), default=None)
    stated = merged_in(run)
    return last if last is not None and stated and fingerprint(last) == stated[-1] else None


def copy_adapter(source: Path, target: Path) -> None:
    """Copy what belongs to an adapter into a folder, and nothing of the run that it lies in."""
    for name in ("adapter_config.json", *FACTORS, WHOLE, PUBLISHED_WHOLE):
        if (source / name).is_file():
            shutil.copy2(source / name, target / name)
    if (source / NEEDS).is_file():
        found = json.loads((source / NEEDS).read_text(encoding="utf-8"))
        before = read_needs(source).base_adapter
        if before is not None and Path(before).is_dir():  # a name that is right from everywhere
            found["base_adapter"] = str(Path(before).resolve())
        (target / NEEDS).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8", errors="backslashreplace")


def local_adapter(place: str | os.PathLike[str]) -> Path:
    """The folder that a path means: itself, or for a run of ours the adapter of its last stage."""
    folder = Path(place).expanduser()
    if (folder / "adapter_config.json").is_file():
        return folder
    return kept_adapter(folder) or folder


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
    file = next((folder / name for name in (WHOLE, PUBLISHED_WHOLE) if (folder / name).is_file()), None)
    return {} if file is None else read_tensors(file)
