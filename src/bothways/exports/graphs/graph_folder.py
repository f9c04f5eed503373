"""Writes an encoder as an ONNX or OpenVINO graph, with the other files that a runtime needs.

    model.onnx, model.onnx.data               ids and masks in, vectors out, of any batch and length
    openvino_model.xml, openvino_model.bin    the same for OpenVINO
    tokenizer.json, …                         as transformers writes them
    bothways-export.json                      options that the graph does not have, and test vectors
    README.md                                 how to run it

sentence-transformers has an ONNX export of its own, which cannot be installed with transformers 5.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from bothways.attention.positions import table_positions
from bothways.encoder.encoder import Encoder
from bothways.encoder.texts.embedding_rows import embedding_rows
from bothways.errors import InputError
from bothways.exports.graphs import int8_weights, onnx_graph, openvino_graph
from bothways.exports.graphs.exported import TITLES, verify_rows
from bothways.exports.graphs.graph_readme import COMMAND, readme_of_graph
from bothways.exports.graphs.padded_encoder import PaddedEncoder, plain_attention
from bothways.exports.manifest import BARS, write_manifest
from bothways.exports.reference import ReferenceRow, own_rows
from bothways.nearest import did_you_mean

TYPES = ("f32", "int8")


def write_onnx(encoder: Encoder, folder: Path, name: str, dtype: str) -> None:
    """Write an ONNX export into an empty folder, see `write_folder`."""
    write_folder(encoder, folder, name, dtype, "onnx")


def write_openvino(encoder: Encoder, folder: Path, name: str, dtype: str) -> None:
    """Write an OpenVINO export into an empty folder, see `write_folder`."""
    write_folder(encoder, folder, name, dtype, "openvino")


def write_folder(encoder: Encoder, folder: Path, name: str, dtype: str, target: str) -> None:
    """Write the graph and its other files, and compare it with the encoder.

    Args:
        encoder: bidirectional, on the CPU, in float32.
        folder: an empty folder.
        name: the model's name.
        dtype: type of the matrices, one of `TYPES`.
        target: "onnx" or "openvino".

    Raises:
        InputError: if the type is unknown, `PaddedEncoder` does not have a part of the encoder, or
            the graph's vectors differ too much from the encoder's.
        UnsupportedFamily: if torch's exporter cannot trace the family.
        MissingExtra: if a package for the target is not installed.
    """
    if dtype not in TYPES:
        raise InputError(
            f"dtype: {TITLES[target]} graphs are written as {' or '.join(TYPES)}, not as {dtype!r}{did_you_mean(dtype, TYPES)}"
        )
    onnx_graph.needs()
    if target == "openvino":
        openvino_graph.needs()
    reference = own_rows(encoder)
    with plain_attention(encoder):
        module = PaddedEncoder(encoder).eval()
        if target == "onnx":
            _write_onnx(module, folder, name, dtype, encoder.hidden_size)
        else:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                _write_onnx(module, Path(place), name, dtype, encoder.hidden_size)
                openvino_graph.write(Path(place) / onnx_graph.GRAPH, folder)
    encoder.tokenizer.save_pretrained(folder)
    _write_settings(encoder, folder, name, dtype, target, reference)
    _check(folder, dtype, target)


def _write_onnx(module: PaddedEncoder, folder: Path, name: str, dtype: str, width: int) -> None:
    onnx_graph.write(module, folder, name)
    if dtype == "int8":
        int8_weights.quantize(folder / onnx_graph.GRAPH, width)


def _write_settings(
    encoder: Encoder,
    folder: Path,
    name: str,
    dtype: str,
    target: str,
    reference: Sequence[ReferenceRow],
) -> None:
    options = encoder.options
    write_manifest(
        folder,
        target,
        dtype,
        reference,
        file=onnx_graph.GRAPH if target == "onnx" else openvino_graph.GRAPH,
        name=name,
        commands={"bothways": COMMAND},
        tokens=options.max_length or 0,
        rows=embedding_rows(encoder.backbone) or 0,
        table=table_positions(encoder.backbone) or 0,
        hidden=encoder.hidden_size,
        dimension=encoder.dimension,
        pooling=str(encoder.pooling.mode),
        pool_bos=options.pool_bos,
        pool_prompt=options.pool_prompt,
        stock_prompts=options.stock_prompts,
        wrapper=list(astuple(options.wrapper)),
        normalize=options.normalize,
        similarity=options.similarity,
        prompts=dict(options.prompts),
        default_prompt=options.default_prompt,
    )
    (folder / "README.md").write_text(
        readme_of_graph(encoder, name, dtype, target), encoding="utf-8"
    )


def _check(folder: Path, dtype: str, target: str) -> None:
    """Refuse an export that does not give the encoder's vectors.

    Rounding can break a model, and an exporter can be wrong.

    Raises:
        InputError: if a cosine is too low.
    """
    worst = min(verify_rows(folder), key=lambda each: each.cosine)
    if not worst.ok:
        raise InputError(
            f"export: the vector of the text '{worst.case}' has cosine {worst.cosine:.4f} to the encoder's in {TITLES[target]} as "
            f"{dtype}, and at least {BARS[dtype]} is needed; "
            + ("export f32 instead" if dtype == "int8" else "this family cannot be exported to it")
        )
