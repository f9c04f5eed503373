"""Writes an encoder as a finished folder for sentence-transformers.

It has the files of `Encoder.save` (model, tokenizer, pooling, the layers after it, prompts, model
card) and bothways-export.json, with which it can be checked without the original.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bothways.encoder.encoder import Encoder
from bothways.encoder.folder import head_modules, pooling_module, template_module
from bothways.errors import InputError
from bothways.exports.bidirectional import refuse_causal
from bothways.exports.manifest import write_manifest
from bothways.exports.reference import own_rows
from bothways.folder_files import TRANSFORMER_SETTINGS
from bothways.nearest import did_you_mean

TYPES = {"f32": "float32", "f16": "float16"}


def write_folder(encoder: Encoder, folder: Path, name: str, dtype: str) -> None:
    """Write the encoder into an empty folder, with its longest text as a number and test vectors.

    Raises:
        InputError: if the encoder is causal, or the type is not f32 or f16.
    """
    check_target(encoder, dtype, "sentence-transformers")
    encoder.save(folder, dtype=TYPES[dtype])
    length(encoder, folder)
    layers = head_modules.names(encoder.pooling) or encoder.reads != "last"
    stock = not (layers or own_code(encoder) or encoder.options.wrapper.prefix)
    write_manifest(
        folder,
        "sentence-transformers",
        dtype,
        own_rows(encoder),
        loaders=["sentence-transformers", *(["transformers"] if stock else [])],
        trust_remote_code=own_code(encoder),
    )


def check_target(encoder: Encoder, dtype: str, target: str) -> None:
    """Refuse encoders and types that a folder of a target cannot have.

    Raises:
        InputError: as `write_folder` does.
    """
    if dtype not in TYPES:
        raise InputError(
            f"dtype: folders for {target} are written as {' or '.join(TYPES)}, not as {dtype!r}{did_you_mean(dtype, TYPES)}"
        )
    refuse_causal(encoder)


def own_code(encoder: Encoder) -> bool:
    """Return whether the folder needs `trust_remote_code`."""
    return pooling_module.is_trained(encoder.pooling) or template_module.needs_code(encoder)


def length(encoder: Encoder, folder: Path) -> int:
    """Write the longest text as a number of tokens, and return it.

    Servers do not start without one.
    """
    file = folder / TRANSFORMER_SETTINGS
    values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    longest = encoder.max_length or model_positions(encoder)
    file.write_text(
        json.dumps({**values, "max_seq_length": longest}, indent=2) + "\n", encoding="utf-8"
    )
    return longest


def model_positions(encoder: Encoder) -> int:
    """Return the number of positions that the model was made for."""
    config = encoder.backbone.config.get_text_config()  # type: ignore[operator,union-attr]
    return int(
        getattr(config, "max_position_embeddings", None)
        or getattr(config, "n_positions", None)
        or 2048
    )
