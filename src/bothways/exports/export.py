"""`export`: one encoder, written for one server, with the command that starts it and vectors to check it by.

encoder-F32.gguf          the model
Modelfile                 for Ollama
README.md                 how to start a server, what it does otherwise than bothways, and the cost
bothways-export.json      what was written, and texts with the vectors that bothways gives
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bothways.atomic import atomic_folder
from bothways.encoder.convert import convert
from bothways.encoder.encoder import Encoder
from bothways.encoder.folder.card import CARD, complete_card
from bothways.encoder.load import is_encoder, load
from bothways.errors import InputError
from bothways.exports.folders import llm2vec_folder, st_folder
from bothways.exports.gguf import gguf_folder
from bothways.exports.graphs import graph_folder
from bothways.exports.servers import server_folder

Writer = Callable[[Encoder, Path, str, str], None]
TARGETS: dict[str, Writer] = {
    "gguf": gguf_folder.write_folder,
    "ollama": gguf_folder.write_folder,
    "onnx": graph_folder.write_onnx,
    "openvino": graph_folder.write_openvino,
    "sentence-transformers": st_folder.write_folder,
    "vllm": server_folder.write_vllm,
    "tei": server_folder.write_tei,
    "llm2vec": llm2vec_folder.write_folder,
}
"""What `--to` takes. A writer gets the encoder, an empty folder, the model's name and the type."""

QUANTIZED = ("int8", "q8_0")
"""What `--quantize` takes: types that hold weights in 8 bits."""


def export(
    model: Encoder | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    to: str,
    dtype: str | None = None,
    quantize: str | None = None,
    name: str | None = None,
    device: str = "cpu",
) -> Path:
    """Write an encoder for another server. The folder appears whole or not at all.

    Example:
        >>> bw.export("runs/mine", "exported", to="gguf", dtype="q8_0")   # doctest: +SKIP

    Args:
        model: an encoder, its folder, or a base model, which is converted first.
        out: the folder to write; must not exist or be empty.
        to: a key of `TARGETS`, for example "gguf" or "sentence-transformers".
        dtype: "f32" (if None), for GGUF and folders also "f16", for GGUF also "q8_0", for ONNX and OpenVINO also "int8".
        quantize: the same as `dtype`, for "int8" and "q8_0".
        name: the model's name in the file; if None, the name of its folder.
        device: where the encoder runs to make the vectors that `verify_export` compares with.

    Returns:
        The folder.

    Raises:
        InputError: an unknown target or type, a causal encoder, or something that the target does not have.
        UnsupportedFamily: a family that the target would run in another way.
        OutputError: the folder cannot be written.
        MissingExtra: a package for this target is not installed.
    """
    writer = TARGETS.get(to)
    if writer is None:
        raise InputError(f"to: {to!r} is not a target; known: {', '.join(TARGETS)}")
    if quantize is not None:
        if quantize not in QUANTIZED:
            raise InputError(f"quantize: {quantize!r} is not a type of 8-bit weights; known: {', '.join(QUANTIZED)}")
        if dtype not in (None, quantize):
            raise InputError(f"quantize: {quantize} and dtype {dtype} name two types; give one of them")
        dtype = quantize
    if isinstance(model, Encoder):
        encoder = model
    else:
        options: dict[str, Any] = {"device": device, "dtype": "float32"}
        encoder = load(model, **options) if is_encoder(str(model)) else convert(model, **options)
    folder = Path(out)
    with atomic_folder(folder) as part:
        writer(encoder, part, name or _name(model), dtype or "f32")
        complete_card(part / CARD, encoder, to)
    return folder


def _name(model: Encoder | str | os.PathLike[str]) -> str:
    text = "encoder" if isinstance(model, Encoder) else Path(os.fspath(model)).name.removesuffix(".gguf")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "encoder"
