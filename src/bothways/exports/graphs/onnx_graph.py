"""Writes and runs ONNX graphs, with torch's exporter and ONNX Runtime.

Letters: B texts, L tokens, D embedding.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bothways.backbone.loading.checkpoint_loading import silenced
from bothways.errors import MissingExtra, UnsupportedFamily
from bothways.exports.graphs.padded_encoder import PaddedEncoder
from bothways.foreign import one_line

GRAPH = "model.onnx"
INPUTS = ("input_ids", "attention_mask", "pool_mask")
OUTPUTS = ("sentence_embedding", "unnormalized")
"""Outputs of a graph. The second exists only if the encoder normalizes."""

GraphRun = Callable[..., np.ndarray[Any, Any]]


def needs() -> None:
    """Raise MissingExtra if a package for writing ONNX graphs is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtra(
            "onnx, onnxscript and onnxruntime", "onnx", "export of a graph"
        ) from None


def write(module: PaddedEncoder, folder: Path, name: str) -> None:
    """Trace the module and write it for any batch and length.

    Args:
        module: encoder in evaluation mode.
        folder: folder for model.onnx and model.onnx.data.
        name: the model's name, which begins an error line.

    Raises:
        UnsupportedFamily: if torch's exporter cannot trace the family's code.
    """
    ids = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 0, 0]])
    mask = (torch.arange(5) < torch.tensor([[5], [3]])).long()
    batch, tokens = (
        torch.export.Dim("batch", min=1, max=65536),
        torch.export.Dim("tokens", min=2, max=1_000_000),
    )
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with torch.no_grad(), silenced(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                module,
                (
                    ids,
                    mask,
                    mask.clone(),
                ),  # the same tensor given twice becomes one input of the graph
                dynamo=True,
                dynamic_shapes={name: {0: batch, 1: tokens} for name in INPUTS},
                input_names=list(INPUTS),
                output_names=list(OUTPUTS[: 1 + module.normalize]),
                verbose=False,
            )
    except Exception as error:  # the exporter wraps every error in a class of its own
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = f"{type(cause).__name__}: {one_line(str(cause), 200)}"
        raise UnsupportedFamily(
            f"{name}: torch's ONNX exporter cannot trace this family ({reason})"
        ) from error
    program.save(str(folder / GRAPH), external_data=True)


def open_run(file: Path, threads: int | None) -> GraphRun:
    """Open a graph in ONNX Runtime.

    Returns:
        A function of three arrays (B, L) int64, which returns vectors (B, D) before normalization.

    Raises:
        MissingExtra: if onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtra("onnxruntime", "onnx", "running an ONNX export") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        os.fspath(file), options, providers=["CPUExecutionProvider"]
    )
    last = [session.get_outputs()[-1].name]

    def run(*arrays: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        vectors: np.ndarray[Any, Any] = session.run(last, dict(zip(INPUTS, arrays, strict=True)))[0]
        return vectors

    return run
