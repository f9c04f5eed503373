"""Writes one encoder for one server, with the server's command and vectors to check it.

An export to GGUF, for example, has these files:

    encoder-F32.gguf          the model
    Modelfile                 for Ollama
    README.md                 the server's command, its differences from bothways, and their cost
    bothways-export.json      the type and settings, and texts with the vectors that bothways gives
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
from bothways.encoder.load import is_encoder, load, locate
from bothways.errors import InputError
from bothways.exports.bidirectional import refuse_causal
from bothways.exports.folders import llm2vec_adapters, llm2vec_folder, st_folder
from bothways.exports.gguf import gguf_folder
from bothways.exports.graphs import graph_folder
from bothways.exports.graphs.exported import TITLES
from bothways.exports.joined import joined
from bothways.exports.manifest import add_to_manifest, files
from bothways.exports.prompt_costs import as_values, prompt_costs, section, tell
from bothways.exports.servers import server_folder
from bothways.nearest import meant
from bothways.progress import Progress

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
"""The values of `--to`. A writer gets the encoder, an empty folder, the model's name and the
type."""

QUANTIZED = ("int8", "q8_0")
"""The values of `--quantize`: types with 8-bit weights."""


def export(
    model: Encoder | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    to: str,
    dtype: str | None = None,
    quantize: str | None = None,
    name: str | None = None,
    device: str = "cpu",
    adapters: bool = False,
) -> Path:
    """Write an encoder for another server. The folder appears complete or not at all.

    Example:
        >>> bw.export("runs/mine", "exported", to="gguf", dtype="q8_0")   # doctest: +SKIP

    Args:
        model: an encoder, its folder, or a base model, which is converted first.
        out: the folder to write. It must be empty or not exist.
        to: a key of `TARGETS`, for example "gguf" or "sentence-transformers".
        dtype: type of the matrices: "f32", "f16" (GGUF and folders), "q8_0" (GGUF) or "int8" (ONNX
            and OpenVINO). If None, "f32".
        quantize: another way to give `dtype`, for "int8" and "q8_0".
        name: the model's name in the file. If None, the name of its folder.
        device: device on which the encoder computes the vectors that `verify_export` compares with.
        adapters: if True, write the base and the adapter of each stage, not merged weights. This is
            for "llm2vec" alone, and needs the folder of a run that keeps its adapters.

    Returns:
        The folder.

    Raises:
        InputError: if the target or type is unknown, the encoder is causal, or the target does not
            have a part of it.
        UnsupportedFamily: if the target would give other vectors for this family.
        OutputError: if the folder cannot be written.
        MissingExtra: if a package for this target is not installed.
    """
    writer = TARGETS.get(to)
    if writer is None:
        raise InputError(
            f"to: {to!r} is not a target; {meant(to, TARGETS)}known: {', '.join(TARGETS)}"
        )
    if quantize is not None:
        if quantize not in QUANTIZED:
            raise InputError(
                f"quantize: {quantize!r} is not a type of 8-bit weights; {meant(quantize, QUANTIZED)}known: {', '.join(QUANTIZED)}"
            )
        if dtype not in (None, quantize):
            raise InputError(
                f"quantize: {quantize} and dtype {dtype} name two types; give one of them"
            )
        dtype = quantize
    if adapters:
        if to != "llm2vec" or isinstance(model, Encoder):
            raise InputError(
                "adapters: only an export of a run's folder to llm2vec has separate adapters; leave --adapters out"
            )
        writer = llm2vec_adapters.writer(Path(model).expanduser())
    if isinstance(model, Encoder):
        encoder = model
    else:
        options: dict[str, Any] = {"device": device, "dtype": "float32"}
        source = locate(model)
        encoder = load(source, **options) if is_encoder(source) else convert(source, **options)
    refuse_causal(encoder)  # before what is missing for this target is named
    if to not in TITLES:  # a graph is read by bothways, which knows a joint
        encoder = joined(encoder)
    folder = Path(out)
    with atomic_folder(folder) as part, Progress(f"export to {to}", None, ""):
        writer(encoder, part, name or _name(model), dtype or "f32")
        costs = prompt_costs(encoder, to)
        add_to_manifest(part, prompt_costs=as_values(costs))
        complete_card(part / CARD, encoder, to, section(costs))
        add_to_manifest(part, files=files(part))
    tell(costs)
    return folder


def _name(model: Encoder | str | os.PathLike[str]) -> str:
    text = (
        "encoder"
        if isinstance(model, Encoder)
        else Path(os.fspath(model)).name.removesuffix(".gguf")
    )
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "encoder"
