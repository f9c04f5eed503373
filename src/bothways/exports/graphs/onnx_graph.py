"""Writes, quantizes and runs ONNX graphs, with torch's exporter and ONNX Runtime.

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

from bothways.backbone.loading.checkpoints import quiet
from bothways.errors import MissingExtra, UnsupportedFamily
from bothways.exports.graphs.padded_encoder import PaddedEncoder
from bothways.foreign import one_line

GRAPH = "model.onnx"
INPUTS = ("input_ids", "attention_mask", "pool_mask")
OUTPUTS = ("sentence_embedding", "unnormalized")
"""Outputs of a graph. The second exists only if the encoder normalizes."""
BLOCK = 32
"""Number of int8 weights with one scale."""

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
        with torch.no_grad(), quiet(), warnings.catch_warnings():
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


def quantize(folder: Path, width: int) -> None:
    """Replace the graph's matrices by 8-bit weights, in blocks with one scale each.

    The quantizer of ONNX Runtime writes `MatMulNBits`. Activations stay float32, and so do matrices
    with more than `width` inputs, which are the last ones of the feed-forward layers. A decoder's
    massive activations pass through these, so a rounding error there would be large.

    With SmolLM2-135M and 66 texts, the mean and lowest cosine to float32 are 0.9993 and 0.990. If
    all matrices and activations are rounded (`accuracy_level` 4), they are 0.9968 and 0.916.
    docs/serving.md has the table.

    Args:
        folder: folder of the float32 graph, which is replaced.
        width: H, the width of the backbone's states.
    """
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    model = onnx.load(folder / GRAPH)
    shapes = {each.name: tuple(each.dims) for each in model.graph.initializer}
    wide = [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul"
        and len(shape := shapes.get(node.input[1], ())) == 2
        and shape[0] > width
    ]
    logger = logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        quantizer = MatMulNBitsQuantizer(
            model,
            bits=8,
            block_size=BLOCK,
            is_symmetric=True,
            accuracy_level=0,
            nodes_to_exclude=wide,
        )
        quantizer.process()
    finally:
        logger.setLevel(before)
    (folder / GRAPH).unlink()
    (folder / f"{GRAPH}.data").unlink(missing_ok=True)
    quantizer.model.save_model_to_file(str(folder / GRAPH), True)


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
