"""Writes and runs OpenVINO graphs. OpenVINO itself reads them from the ONNX graph.

Letters: B texts, L tokens, D embedding.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bothways.errors import MissingExtra
from bothways.exports.graphs.onnx_graph import GraphRun

if TYPE_CHECKING:
    from openvino import Core, Model

GRAPH = "openvino_model.xml"
SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
"""Without these hints the CPU plugin uses bfloat16 if the hardware has it, and rounds many
activations with one scale."""


def needs() -> None:
    """Raise MissingExtra if openvino is not installed."""
    try:
        import openvino  # noqa: F401
    except ImportError:
        raise MissingExtra("openvino", "openvino", "export to OpenVINO") from None


def write(onnx_file: Path, folder: Path) -> None:
    """Read an ONNX graph, float32 or int8, and write it as openvino_model.xml and .bin."""
    import openvino

    model = openvino.Core().read_model(os.fspath(onnx_file))
    openvino.save_model(model, os.fspath(folder / GRAPH), compress_to_fp16=False)


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
    return compiled_run(openvino.Core(), os.fspath(file), threads)


def compiled_run(core: Core, model: Model | str, threads: int | None, rounded: int = 0) -> GraphRun:
    """Compile a graph for the CPU.

    Args:
        core: OpenVINO's runtime.
        model: a graph, or the file of one.
        threads: number of threads. If None, the runtime chooses.
        rounded: numbers of an activation that are rounded to int8 with one scale, if they meet
            int8 weights. If 0, no activation is rounded.

    Returns:
        The function of `open_run`.
    """
    settings: dict[str, Any] = {**SETTINGS, "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(rounded)}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = core.compile_model(model, "CPU", settings)
    idle: list[Any] = []  # making a request takes as long as a few layers

    def run(*arrays: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        # two threads may encode at the same time, so each call has a request to itself
        try:
            request = idle.pop()
        except IndexError:
            request = compiled.create_infer_request()
        answer = request.infer(list(arrays))
        vectors = np.array(answer[compiled.outputs[-1]])
        idle.append(request)
        return vectors

    return run
