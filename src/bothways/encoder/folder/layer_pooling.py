"""Reads and writes first_last_avg pooling: sentence-transformers' modules for layers and mean.

    1_WeightedLayerPooling/    config.json and model.safetensors: weight 1 for the first and the
                               last layer, 0 for those between
    2_Pooling/config.json      mean over tokens
    sentence_bert_config.json  config_args.output_hidden_states, without which sentence-transformers
                               ignores the weights without a message

Folders from elsewhere may hold other weights. These are refused, because no pooling here equals
them. `attention.run.of_layers` says which states are averaged.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, Field
from safetensors.torch import save_file

from bothways.config import Strict, parse
from bothways.encoder.module import EncoderModule
from bothways.errors import InputError
from bothways.folder_files import MODULES, TRANSFORMER_SETTINGS
from bothways.foreign import read_object, read_tensors

KIND = "WeightedLayerPooling"
MODE = "first_last_avg"
NOTE = (
    "first_last_avg pooling needs sentence-transformers' WeightedLayerPooling; other loaders (vLLM, TEI, llama.cpp) do not have "
    "that module and at best take the mean of the last layer, so do not serve this folder with them"
)


class _Stored(Strict):
    """config.json of the module: arguments of sentence-transformers' class, old and new."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    word_embedding_dimension: int | None = Field(default=None, ge=1)
    embedding_dimension: int | None = Field(default=None, ge=1)
    num_hidden_layers: int = Field(default=12, ge=1)
    layer_start: int = Field(default=4, ge=0)


def is_layered(encoder: EncoderModule) -> bool:
    """Return whether the pooling reads the first layer too."""
    return encoder.reads == "first_last"


def write(encoder: EncoderModule, root: Path) -> tuple[str, str]:
    """Write the module that averages the layers. Returns its folder and its type."""
    folder = f"1_{KIND}"
    config: Any = encoder.backbone.config
    layers = int(config.get_text_config().num_hidden_layers)
    weights = torch.zeros(layers)
    weights[[0, -1]] = 1.0
    stored = {
        "word_embedding_dimension": encoder.hidden_size,
        "layer_start": 1,
        "num_hidden_layers": layers,
    }
    (root / folder).mkdir()
    (root / folder / "config.json").write_text(
        json.dumps(stored, indent=2) + "\n", encoding="utf-8"
    )
    save_file(
        {"layer_weights": weights}, root / folder / "model.safetensors", metadata={"format": "pt"}
    )
    return folder, f"sentence_transformers.models.{KIND}"


def check(place: Path, transformer: dict[str, Any], root: Path) -> None:
    """Refuse a folder if sentence-transformers does not average its layers as first_last_avg does.

    Args:
        place: folder of the module.
        transformer: contents of sentence_bert_config.json.
        root: folder of the model.

    Raises:
        InputError: names the file and the setting.
    """
    file = place / "config.json"
    stored = parse(_Stored, read_object(file), where=str(file))
    arguments = transformer.get("config_args") or transformer.get("config_kwargs") or {}
    if not (
        arguments.get("output_hidden_states")
        or read_object(root / "config.json", {}).get("output_hidden_states")
    ):
        raise InputError(
            f"{file}: {KIND} has no effect in sentence-transformers without output_hidden_states; if the model was trained with it, write "
            f'"config_args": {{"output_hidden_states": true}} into {root / TRANSFORMER_SETTINGS}, else take the module out of '
            f"{MODULES}"
        )
    weights = read_tensors(place / "model.safetensors").get("layer_weights")
    layers = stored.num_hidden_layers + 1 - stored.layer_start
    if weights is None or tuple(weights.shape) != (layers,):
        raise InputError(
            f"{place / 'model.safetensors'}: needs {layers} layer_weights, as config.json says; the folder is damaged"
        )
    # from the embeddings on, which are layer 0
    every = torch.cat([torch.zeros(stored.layer_start), weights.detach().float().cpu()])
    wanted = torch.zeros_like(every)
    wanted[[1, -1]] = every[-1]
    if not bool(every[-1] > 0) or not torch.equal(every, wanted):
        raise InputError(
            f"{place / 'model.safetensors'}: averages the layers with the weights {[round(float(w), 3) for w in every][:8]}, and this "
            "encoder supports only first_last_avg (the same weight for the first and the last layer, 0 for the others)"
        )


def mode_of(place: Path, pooling: str | None) -> str:
    """Name the pooling that consists of this module and the Pooling behind it.

    Raises:
        InputError: the Pooling does not take the mean.
    """
    if pooling != "mean":
        raise InputError(
            f"{place}: {KIND} comes before {pooling} pooling, but only mean pooling is supported after it"
        )
    return MODE
