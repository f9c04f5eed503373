"""Writes and runs OpenVINO graphs. OpenVINO itself reads them from the ONNX graph.

Letters: B texts, L tokens, D embedding.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bothways.errors import MissingExtra
from bothways.exports.graphs.onnx_graph import GraphRun

if TYPE_CHECKING:
    from openvino import Model

GRAPH = "openvino_model.xml"


def needs(*, int8: bool) -> None:
    """Raise MissingExtra if openvino, or nncf for int8, is not installed."""
    try:
        import openvino  # noqa: F401

        if int8:
            import nncf  # noqa: F401
    except ImportError:
        raise MissingExtra(
            "openvino and nncf" if int8 else "openvino", "openvino", "export to OpenVINO"
        ) from None


def write(onnx_file: Path, folder: Path, *, int8: bool, width: int) -> None:
    """Read an ONNX graph and write it as openvino_model.xml and .bin.

    Args:
        onnx_file: the float32 graph.
        folder: folder for the two files.
        int8: if True, nncf makes the weights 8-bit, with one scale for each row of a matrix.
            Activations do not change.
        width: H, the width of the backbone's states. A matrix with more inputs stays float32, see
            `onnx_graph.quantize`.
    """
    import openvino

    model = openvino.Core().read_model(os.fspath(onnx_file))
    if int8:
        import nncf

        logging.getLogger("nncf").setLevel(logging.ERROR)
        ignored = nncf.IgnoredScope(names=_wide(model, width), validate=False)
        model = nncf.compress_weights(
            model, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=ignored
        )
    openvino.save_model(model, os.fspath(folder / GRAPH), compress_to_fp16=False)


def _wide(model: Model, width: int) -> list[str]:
    """Return the names of the products with a stored matrix of more than `width` inputs."""
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


def open_run(file: Path, threads: int | None) -> GraphRun:
    """Open a graph in OpenVINO.

    Returns:
        A function of three arrays (B, L) int64, which returns vectors (B, D) before normalization.

    Raises:
        MissingExtra: if openvino is not installed.
    """
    try:
        import openvino
    except ImportError:
        raise MissingExtra("openvino", "openvino", "running an OpenVINO export") from None
    # Without these hints the CPU plugin uses bfloat16 if the hardware has it, and rounds many
    # activations with one scale.
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    model = openvino.Core().compile_model(os.fspath(file), "CPU", settings)

    def run(*arrays: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        # each call has its own request, because two threads may encode at the same time
        answer = model.create_infer_request().infer(list(arrays))
        return np.array(answer[model.outputs[-1]])

    return run
