"""Refuses checkpoints with weights in whole numbers that nothing says how to scale.

transformers casts an int8 weight to floating point without a word, as if its scale were 1. With a
`quantization_config` it scales them. Scales without that setting are refused in `left_out`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bothways.errors import SourceError
from bothways.foreign import read_object

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def refuse_whole_numbers(name: str, where: str, config: PretrainedConfig) -> None:
    """Raise SourceError if weights of a checkpoint are integers, and its config does not say why.

    Only safetensors files are looked at. Reading their headers takes milliseconds.

    Args:
        name: the model's name as the user gave it. The message starts with it.
        where: folder or hub id. The files of a hub id are in the cache.
        config: the model's config.

    Raises:
        SourceError: names up to three of the weights.
    """
    if getattr(config, "quantization_config", None):
        return
    from safetensors import safe_open

    found: list[str] = []
    for file in _files(_folder(where)):
        with safe_open(file, "pt") as held:
            found += [
                f"{key} {kind}"
                for key in held.keys()  # noqa: SIM118, it is not a mapping
                if key.endswith(".weight") and (kind := held.get_slice(key).get_dtype())[0] in "IU"
            ]
    if found:
        raise SourceError(
            f"{name}: {len(found)} weights are whole numbers without a scale ({', '.join(found[:3])}{', …' if len(found) > 3 else ''}); "
            "restore the config.json that it was saved with (its quantization_config is missing), or give the unquantized model"
        )


def _files(folder: Path) -> list[Path]:
    """List the files that transformers reads. Others in the folder may be quantized versions."""
    whole = folder / "model.safetensors"
    if whole.is_file():
        return [whole]
    shards = read_object(folder / "model.safetensors.index.json", {}).get("weight_map") or {}
    return sorted({folder / str(name) for name in shards.values()})


def _folder(where: str) -> Path:
    folder = Path(where)
    if folder.is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(where, "config.json")
    # an empty folder for a file that is not in the cache, which has no weights either
    return Path(cached).parent if isinstance(cached, str) else Path(where)
