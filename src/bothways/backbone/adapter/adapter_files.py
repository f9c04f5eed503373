"""A LoRA adapter on disk: peft's folder, and in it the parameters that were trained in full.

    adapter_config.json           written and read by peft
    adapter_model.safetensors     written and read by peft
    trainable_params.safetensors  LoRA+: embeddings and norms, by their names in the causal LM
    bothways.json                 requirements on the base that do not fit into peft's config

LongLoRA publishes the second part as trainable_params.bin (https://arxiv.org/abs/2309.12307,
`get_trainable_weights.py`). Both forms are read. This file handles names and files; `adapters`
changes models.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bothways.atomic import atomic_folder
from bothways.backbone.adapter.exact_targets import translated_by_peft
from bothways.backbone.adapter.lora import adapter_state, lora_layers, peft_config
from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.backbone.adapter.new_tokens import NewRows
from bothways.backbone.rope import RopeConfig
from bothways.digest import file_sha256
from bothways.errors import InputError
from bothways.folder_files import ADAPTER, OURS
from bothways.foreign import foreign, object_if_whole, read_object, read_tensors

log = logging.getLogger("bothways")

WHOLE = "trainable_params.safetensors"
PUBLISHED_WHOLE = "trainable_params.bin"
NEEDS = OURS
FACTORS = ("adapter_model.safetensors", "adapter_model.bin")
#: Key of `bothways.json`, of an encoder or an adapter. It holds the fingerprints of the adapters
#: that have been merged, in order.
MERGED = "merged_adapters"


class Needs(NamedTuple):
    """The requirements of an adapter, in addition to the base that peft's config names.

    Attributes:
        rope: rotary positions that the base was given before training. None means its own.
        base_adapter: an adapter that was merged into the base before training.
        whole: number of parameters that were trained in full and lie next to the factors.
    """

    rope: RopeConfig | None = None
    base_adapter: str | None = None
    whole: int = 0


def read_needs(folder: Path) -> Needs:
    """Read the requirements of the adapter in a folder. If another tool wrote it, there are none.

    Raises:
        InputError: if bothways.json is broken, or if the parameters that were trained in full are
            missing.
    """
    place = folder / NEEDS
    if not place.is_file():
        return Needs()
    found = read_object(place, remedy="write the adapter again")
    with foreign(place, "broken", "write the adapter again"):
        needs = Needs(
            None if found["rope"] is None else RopeConfig.of(found["rope"]),
            found["base_adapter"],
            int(found["whole"]),
        )
    # the earlier adapter of the same run
    if needs.base_adapter is not None and (folder / needs.base_adapter).is_dir():
        needs = needs._replace(base_adapter=str(folder / needs.base_adapter))
    if needs.whole and not any((folder / name).is_file() for name in (WHOLE, PUBLISHED_WHOLE)):
        raise InputError(
            f"{folder}: {WHOLE} is missing; {needs.whole} parameters were trained in full with this adapter"
        )
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
    """Write the adapter of `model` into a folder.

    Plain peft loads its factors over the causal LM. `merge_saved` loads everything over the bare
    decoder. If rows of new tokens were trained, the whole embedding is written, and `merge_saved`
    copies it into the model.

    Args:
        model: bare decoder with the adapter attached.
        config: the config that was attached.
        folder: folder to write. If it exists, it is replaced as a whole.
        base: name of the model that the adapter belongs to.
        rope: rotary positions that the base was given before training.
        base_adapter: adapter that was merged into the base before training. If the path exists
            relative to `folder`, it is read from there, for example ../1-mntp.
        causal: if True, name the factors as in the causal LM. If False, name them as in the bare
            decoder, over which LLM2Vec loads its adapters.
    """
    prefix = _prefix(model)
    state, table = adapter_state(model), _table_with_new_rows(model)
    state = {name: value for name, value in state.items() if ".lora_rows." not in name} | table
    factors = {name: value for name, value in state.items() if ".lora_" in name}
    whole = {
        f"{prefix}{name}": value.contiguous()
        for name, value in state.items()
        if name not in factors
    }
    inner = prefix if causal else ""
    named = {
        f"base_model.model.{inner}{_saved_name(name)}": value.contiguous()
        for name, value in factors.items()
    }
    targets = (
        [name for name, _ in lora_layers(model)]
        if isinstance(config.targets, str)
        else list(config.targets)
    )
    needs = {
        "rope": None if rope is None else rope.model_dump(mode="json"),
        "base_adapter": base_adapter,
        "whole": len(whole),
    }
    written = peft_config(
        config,
        targets,
        base_model_name_or_path=base,
        task_type="CAUSAL_LM" if causal else None,
        inference_mode=True,
    )
    if translated_by_peft(model, written):
        log.warning(
            "%s: peft reads gate_proj, up_proj and down_proj of this family as names of its experts, so only bothways opens this "
            "adapter; with keep: merged other libraries open the encoder",
            folder,
        )
    with atomic_folder(folder, replace=True) as part:
        written.save_pretrained(str(part))
        save_file(named, part / "adapter_model.safetensors", metadata={"format": "pt"})
        if whole:
            save_file(whole, part / WHOLE, metadata={"format": "pt"})
        (part / NEEDS).write_text(
            json.dumps(needs, indent=2) + "\n", encoding="utf-8", errors="backslashreplace"
        )


def _saved_name(name: str) -> str:
    """Return the name of a factor in a saved adapter. peft cuts `.weight` off DoRA's lengths."""
    plain = name.replace(".default", "")
    return plain.removesuffix(".weight") if "lora_magnitude_vector" in plain else plain


def _table_with_new_rows(model: Any) -> dict[str, Tensor]:
    """Return the embedding with the trained rows of new tokens in place, by its parameter name.

    If no such rows train next to an adapter, the result is empty.
    """
    embedding = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    if not isinstance(embedding, NewRows):
        return {}
    name = next(
        name for name, parameter in model.named_parameters() if parameter is embedding.base.weight
    )
    table = embedding.base.weight.detach().cpu().clone()
    table[embedding.ids.cpu()] = embedding.lora_rows.weight.detach().cpu().to(table)
    return {name.replace(".base.weight", ".weight"): table}


def adapter_fingerprint(folder: Path) -> str | None:
    """Compute the SHA-256 (hex) of an adapter's factors, which identifies it in any folder.

    The result is None if the folder holds no factors.
    """
    file = next((folder / name for name in FACTORS if (folder / name).is_file()), None)
    return None if file is None else file_sha256(file)


def merged_in(place: str | os.PathLike[str]) -> list[str]:
    """List the fingerprints of a saved model's adapters, merged or in its folder."""
    folder = Path(place).expanduser()
    held = object_if_whole(folder / NEEDS).get(MERGED)
    stated = [str(each) for each in held] if isinstance(held, list) else []
    own = adapter_fingerprint(folder)
    return stated if own is None or own in stated else [*stated, own]


def kept_adapter(run: Path) -> Path | None:
    """Find the adapter of a run's last stage, below the run's folder.

    The result is None if the folder is not a run, or if the run did not keep the adapter.
    """
    numbered = [
        each for each in (run / "adapters").glob("*-*") if each.name.split("-")[0].isdigit()
    ]
    last = max(numbered, key=lambda each: int(each.name.split("-")[0]), default=None)
    stated = merged_in(run)
    return last if last is not None and stated and adapter_fingerprint(last) == stated[-1] else None


def copy_adapter(source: Path, target: Path) -> None:
    """Copy the files of an adapter into a folder, without the rest of the run around them."""
    for name in (ADAPTER, *FACTORS, WHOLE, PUBLISHED_WHOLE):
        if (source / name).is_file():
            shutil.copy2(source / name, target / name)
    if (source / NEEDS).is_file():
        found = read_object(source / NEEDS)
        before = read_needs(source).base_adapter
        # an absolute path is right from every folder
        if before is not None and Path(before).is_dir():
            found["base_adapter"] = str(Path(before).resolve())
        (target / NEEDS).write_text(
            json.dumps(found, indent=2) + "\n", encoding="utf-8", errors="backslashreplace"
        )


def local_adapter(place: str | os.PathLike[str]) -> Path:
    """Find the folder of an adapter: `place` itself, or in a run that of its last stage."""
    folder = Path(place).expanduser()
    if (folder / ADAPTER).is_file():
        return folder
    return kept_adapter(folder) or folder


def put_whole(model: nn.Module, folder: Path) -> list[str]:
    """Copy the parameters that were trained in full, if the folder has any, into `model`.

    If tokens were added before training, the saved embedding has more rows than the model's. The
    model's embedding is then enlarged.

    Returns:
        The names of the parameters that were replaced.

    Raises:
        InputError: if the model does not have such a parameter, or if it has another shape.
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
    """Enlarge the embedding for tokens that training has added.

    For example, LongLoRA's published models have 32,001 rows, one padding token more than Llama 2.
    """
    weight = model.get_input_embeddings().weight
    name = next(name for name, parameter in model.named_parameters() if parameter is weight)
    value = found.get(name)
    if value is not None and value.shape[1:] == weight.shape[1:] and len(value) > len(weight):
        model.resize_token_embeddings(len(value), mean_resizing=False)


def bare(name: str, model: nn.Module) -> str:
    """Convert a parameter's name in the causal LM or the bare decoder to the decoder's."""
    for prefix in (_prefix(model), "model."):
        if prefix and name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _prefix(model: nn.Module) -> str:
    slot = getattr(model, "base_model_prefix", "")
    return f"{slot}." if slot else ""


def _read_whole(folder: Path) -> dict[str, Tensor]:
    file = next(
        (folder / name for name in (WHOLE, PUBLISHED_WHOLE) if (folder / name).is_file()), None
    )
    return {} if file is None else read_tensors(file)
