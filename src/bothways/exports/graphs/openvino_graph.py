"""Writes and runs OpenVINO graphs, made from the ONNX graph by OpenVINO's own reader.

Letters: B texts, L tokens, D embedding.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from bothways.errors import MissingExtra
from bothways.exports.graphs.onnx_graph import Run

GRAPH = "openvino_model.xml"


def needs(*, int8: bool) -> None:
    """Raise MissingExtra if openvino, or nncf for int8, is not installed."""
    try:
        import openvino  # noqa: F401

        if int8:
            import nncf  # noqa: F401
    except ImportError:
        raise MissingExtra("openvino and nncf" if int8 else "openvino", "openvino", "export to OpenVINO") from None


def write(onnx_file: Path, folder: Path, *, int8: bool, width: int) -> None:
    """Read an ONNX graph and write it as openvino_model.xml and .bin.

    Args:
        onnx_file: the float32 graph.
        folder: where the two files go.
        int8: if True, nncf puts 8-bit weights with a scale for each row of a matrix, and leaves activations as they are.
        width: H, of the backbone's states. A matrix that reads more values stays float32; see `onnx_graph.quantize`.
    """
    import openvino

    model = openvino.Core().read_model(os.fspath(onnx_file))
    if int8:
        import nncf

        logging.getLogger("nncf").setLevel(logging.ERROR)
        ignored = nncf.IgnoredScope(names=_wide(model, width), validate=False)
        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=ignored)
    openvino.save_model(model, os.fspath(folder / GRAPH), compress_to_fp16=False)


def _wide(model: Any, width: int) -> list[str]:
    """Name the products with a stored matrix that reads more than `width` values."""
    found = []
    for node in model.get_ops():
        if node.get_type_name() != "MatMul":
            continue
        stored = node.input_value(1).get_node()
        shape = stored.get_output_partial_shape(0)
        if stored.get_type_name() == "Constant" and shape.rank.get_length() == 2:
            reads = shape[1] if node.get_attributes()["transpose_b"] else shape[0]
            if reads.get_length() > width:
                found.append(node.get_friendly_name())
    return found


def open_run(file: Path, threads: int | None) -> Run:
    """Open a graph in OpenVINO: a function from three arrays (B, L) int64 to vectors (B, D) before normalization.

    Raises:
        MissingExtra: openvino is not installed.
    """
    try:
        import openvino
    except ImportError:
        raise MissingExtra("openvino", "openvino", "running an OpenVINO export") from None
    # without the hints the CPU plugin takes bfloat16 where the hardware has it, and rounds activations at one scale for many
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    model = openvino.Core().compile_model(os.fspath(file), "CPU", settings)

    def run(*arrays: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        # a request of its own: two threads may encode at the same time
        answer = model.create_infer_request().infer(list(arrays))
        return np.array(answer[model.outputs[-1]])

    return run
