"""Replaces the matrices of an ONNX graph by 8-bit weights, in blocks with one scale each.

ONNX Runtime and OpenVINO both run the graph. Activations stay float32.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bothways.errors import InputError

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

BLOCK = 32
"""Number of int8 weights with one scale."""


def quantize(file: Path, width: int) -> None:
    """Replace a graph's matrices by 8-bit weights.

    The quantizer of ONNX Runtime writes `MatMulNBits`. Experts, which are one tensor for a layer,
    are not matrices to it. They become int8 tensors that are multiplied by their scales after a
    token's experts have been selected.

    Matrices with more than `width` inputs, which are the last ones of the feed-forward layers, stay
    float32. A decoder's massive activations pass through these, so a rounding error there would be
    large. With SmolLM2-135M and 66 texts, the mean and lowest cosine to float32 are 0.9993 and
    0.990. If all matrices and activations are rounded (`accuracy_level` 4), they are 0.9968 and
    0.916. docs/serving.md has the table.

    Args:
        file: the float32 graph, which is replaced.
        width: H, the width of the backbone's states.
    """
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    model = onnx.load(file)
    split_gemm(model.graph)
    shapes = {each.name: tuple(each.dims) for each in model.graph.initializer}
    wide = [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul"
        and len(shape := shapes.get(node.input[1], ())) == 2
        and shape[0] > width
    ]
    quantize_experts(model.graph, width)
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
    if not any(node.op_type == "MatMulNBits" for node in quantizer.model.model.graph.node):
        raise InputError(
            "export: the graph has no matrix that can be written as int8; export f32 instead"
        )
    file.unlink()
    file.with_name(f"{file.name}.data").unlink(missing_ok=True)
    quantizer.model.save_model_to_file(str(file), True)


def split_gemm(graph: GraphProto) -> None:
    """Write each plain `Gemm` as `MatMul` and `Add`, in place. GPT-2's layers are of this form."""
    import onnx

    nodes: list[NodeProto] = []
    for node in graph.node:
        plain = all(
            (each.i == 0 if each.name.startswith("trans") else each.f == 1.0)
            for each in node.attribute
        )
        if node.op_type != "Gemm" or not plain or len(node.input) != 3:
            nodes.append(node)
            continue
        product = f"{node.output[0]}_product"
        make = onnx.helper.make_node
        nodes.append(make("MatMul", node.input[:2], [product], name=f"{node.name}_matmul"))
        nodes.append(make("Add", [product, node.input[2]], [node.output[0]]))
    del graph.node[:]
    graph.node.extend(nodes)


def quantize_experts(graph: GraphProto, width: int) -> None:
    """Replace the experts of each layer, one tensor (experts, outputs, inputs), by int8, in place.

    Args:
        graph: the graph. Only tensors that a `Gather` or `GatherND` selects from are replaced.
        width: H. Experts with more inputs stay float32.
    """
    import onnx

    held = {each.name: each for each in graph.initializer}
    nodes: list[NodeProto] = []
    done: dict[str, tuple[str, str, list[int]]] = {}
    for node in graph.node:
        tensor = held.get(node.input[0]) if node.op_type in ("Gather", "GatherND") else None
        fits = tensor is not None and len(tensor.dims) == 3 and min(tensor.dims[1:]) >= BLOCK
        if tensor is None or not fits or _axis(node) != 0 or tensor.dims[2] > width:
            nodes.append(node)
            continue
        if tensor.name not in done:
            weights = onnx.numpy_helper.to_array(tensor)
            whole, scales = rounded(np.asarray(weights, dtype=np.float32))
            names = (f"{tensor.name}_Q8", f"{tensor.name}_scales")
            graph.initializer.append(onnx.numpy_helper.from_array(whole, names[0]))
            graph.initializer.append(onnx.numpy_helper.from_array(scales, names[1]))
            done[tensor.name] = (*names, [-1, *tensor.dims[1:]])
        nodes += _selected(node, *done[tensor.name], graph)
    read = {name for node in nodes for name in node.input}
    for name in done:
        if name not in read:
            graph.initializer.remove(held[name])
    del graph.node[:]
    graph.node.extend(nodes)


def rounded(
    weights: np.ndarray[Any, Any], block: int = BLOCK
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Round weights (E, A, B) to int8 (E, A, blocks, b), with scales (E, A, blocks, 1).

    b is `block`, or B if it is not a multiple of that.
    """
    experts, rows, inputs = weights.shape
    size = block if inputs % block == 0 else inputs
    blocks = weights.reshape(experts, rows, inputs // size, size)
    scales = np.abs(blocks).max(-1, keepdims=True) / 127
    scales[scales == 0] = 1.0
    return np.rint(blocks / scales).astype(np.int8), scales.astype(np.float32)


def _axis(node: NodeProto) -> int:
    return next((int(each.i) for each in node.attribute if each.name == "axis"), 0)


def _selected(
    node: NodeProto, whole: str, scales: str, shape: list[int], graph: GraphProto
) -> list[NodeProto]:
    """Return the nodes that select int8 experts and their scales, and multiply both."""
    import onnx

    out = node.output[0]
    name = f"{out}_shape"
    graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(shape, np.int64), name))
    chosen = []
    for stored, to in ((whole, f"{out}_Q8"), (scales, f"{out}_scales")):
        other = onnx.NodeProto()
        other.CopyFrom(node)
        other.name, other.input[0], other.output[0] = f"{node.name}_{to}", stored, to
        chosen.append(other)
    make = onnx.helper.make_node
    return [
        *chosen,
        make("Cast", [f"{out}_Q8"], [f"{out}_float"], to=onnx.TensorProto.FLOAT),
        make("Mul", [f"{out}_float", f"{out}_scales"], [f"{out}_blocks"]),
        make("Reshape", [f"{out}_blocks", name], [out]),
    ]
