"""Writes the adapters of a run for the package llm2vec, as LLM2Vec publishes its own.

    base/           the base model: config.json, model.safetensors, tokenizer
    1-mntp/         adapter_config.json, adapter_model.safetensors, config.json, tokenizer
    2-simcse/       adapter_config.json, adapter_model.safetensors
    llm2vec_config.json   in each of them: pooling, lengths, and whether an instruction is pooled

`LLM2Vec.from_pretrained("1-mntp", peft_model_name_or_path="2-simcse")` merges the first into the
base and puts the second on top. Both adapters name the base as "base", so it is called inside the
folder. To publish them as the authors do, write the base's name on the hub there instead.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bothways.backbone.adapter.adapter_files import NEEDS, local_adapter, read_needs
from bothways.encoder.convert import convert
from bothways.encoder.encoder import Encoder
from bothways.encoder.load import is_encoder, load
from bothways.errors import InputError
from bothways.exports.as_llama import as_llama, with_parts
from bothways.exports.folders import llm2vec_folder
from bothways.exports.folders.st_folder import TYPES
from bothways.folder_files import ADAPTER, LLM2VEC
from bothways.foreign import read_object

BASE = "base"
SAME_WEIGHTS = ("qwen2", "seed_oss")
"""Families that are Llama except for the name, so their adapters fit a Llama too."""
PEFT_0_12 = frozenset(
    (
        *("alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "fan_in_fan_out"),
        *("inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform"),
        *("lora_alpha", "lora_dropout", "modules_to_save", "peft_type", "r", "rank_pattern"),
        *("revision", "target_modules", "task_type", "use_dora", "use_rslora"),
    )
)
"""Keys of adapter_config.json that peft 0.12 knows. It stops with an error on others."""
_LOST = (
    *("lora_bias", "use_qalora", "trainable_token_indices", "target_parameters"),
    *("exclude_modules", "alora_invocation_tokens", "layer_replication"),
)
"""Keys that change an adapter's vectors and that peft 0.12 does not know."""
_BESIDE = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def writer(run: Path) -> Callable[[Encoder, Path, str, str], None]:
    """Return a function that writes the adapters of a run, with the arguments of `write_folder`.

    Args:
        run: folder of a run that keeps its adapters, or of one of its adapters.
    """

    def write(encoder: Encoder, folder: Path, name: str, dtype: str) -> None:
        places = chain(run)
        names = [f"{number}-{_stage(place)}" for number, place in enumerate(places, 1)]

        def base_and_adapters(target: Path, skip: bool, tokens: int) -> None:
            base = _base(encoder, places[0])
            llm2vec_folder.write_base(base, target / BASE, TYPES[dtype])
            llm2vec_folder.write_settings(encoder, target / BASE, skip, tokens)
            for place, each in zip(places, names, strict=True):
                _write_adapter(place, target / each)
                shutil.copy2(target / BASE / LLM2VEC, target / each / LLM2VEC)
            for file in _BESIDE:  # with these, the first adapter's folder is opened as a model
                if (target / BASE / file).is_file():
                    shutil.copy2(target / BASE / file, target / names[0] / file)

        llm2vec_folder.write_with(encoder, folder, name, dtype, base_and_adapters, names)

    return write


def chain(run: Path) -> list[Path]:
    """Find the adapters of a run, first stage first.

    Raises:
        InputError: if the run does not keep adapters, or one of them cannot be written for peft
            0.12.
    """
    last = local_adapter(run)
    if not (last / ADAPTER).is_file():
        raise InputError(
            f"{run}: keeps no adapter; train with keep=both or keep=adapter, or leave --adapters out"
        )
    places = [last]
    while True:
        needs = read_needs(places[0])
        if needs.whole or needs.rope is not None:
            part = "embeddings and norms" if needs.whole else "positions"
            raise InputError(
                f"{places[0]}: was trained with other {part}, which llm2vec does not read; leave --adapters out"
            )
        if needs.base_adapter is None:
            return places
        before = Path(needs.base_adapter).expanduser()
        if not before.is_dir():
            raise InputError(
                f"{places[0]}: was trained over the adapter {before}, which is not there; leave --adapters out"
            )
        places.insert(0, before)


def _stage(place: Path) -> str:
    """Return the name of the stage that trained an adapter, for example "mntp"."""
    stages = read_object(place / NEEDS).get("stages") if (place / NEEDS).is_file() else None
    if isinstance(stages, list) and stages and isinstance(stages[-1], dict):
        return str(stages[-1].get("name") or "adapter")
    return "adapter"


def _base(encoder: Encoder, first: Path) -> Encoder:
    """Load the base model of the first adapter, with the encoder's own tokenizer.

    Raises:
        InputError: if the adapters do not fit the form that the base is written in.
    """
    name = str(read_object(first / ADAPTER).get("base_model_name_or_path"))
    options: dict[str, Any] = {"device": "cpu", "dtype": "float32"}
    base = load(name, **options) if is_encoder(name) else convert(name, **options)
    if base.embedding_rows() != encoder.embedding_rows():
        raise InputError(
            f"{first}: training added tokens to the base, and an adapter does not hold them; leave --adapters out"
        )
    base = with_parts(base, tokenizer=encoder.tokenizer)
    kind = str(base.backbone.config.get_text_config().model_type)  # type: ignore[operator,union-attr]
    if kind in llm2vec_folder.FAMILIES:
        return base
    if kind not in SAME_WEIGHTS:
        raise InputError(
            f"{first}: {kind} is written as Llama with other weights, which its adapters do not fit; leave --adapters out"
        )
    return as_llama(base)


def _write_adapter(place: Path, folder: Path) -> None:
    """Write an adapter as peft 0.12 reads it.

    Raises:
        InputError: if it has a part that peft 0.12 does not have.
    """
    values = read_object(place / ADAPTER)
    lost = next((key for key in _LOST if values.get(key)), None)
    if lost is not None:
        raise InputError(
            f"{place}: peft 0.12, which llm2vec needs, does not know {lost}; leave --adapters out"
        )
    kept = {key: value for key, value in values.items() if key in PEFT_0_12}
    folder.mkdir()
    written = {**kept, "base_model_name_or_path": BASE, "init_lora_weights": True}
    (folder / ADAPTER).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    shutil.copy2(place / "adapter_model.safetensors", folder / "adapter_model.safetensors")
