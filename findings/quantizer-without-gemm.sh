#!/usr/bin/env bash
# onnxruntime 1.32.0: MatMulNBitsQuantizer stores the weights of a graph in 8 bits. A linear layer may be a
# MatMul or, with its bias in the same node, a Gemm: GPT-2's layers are Gemm when they are exported. One
# would guess that both are quantized, or that the second is named as left out. The MatMul is quantized, the
# Gemm is kept in float32, and nothing is raised: a line of the INFO log says that it was skipped.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 onnx-ir==1.1.0 numpy
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

SIDE = 128
for name in ("onnxruntime", "onnx"):
    print(name, version(name))


def quantized(kind):
    weight = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    held = [numpy_helper.from_array(weight, "w")]
    inputs = ["x", "w"]
    if kind == "Gemm":
        held.append(numpy_helper.from_array(np.zeros(SIDE, np.float32), "b"))
        inputs.append("b")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", SIDE]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node(kind, inputs, ["y"], name="linear")], kind, ends[:1], ends[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    quantizer = MatMulNBitsQuantizer(model, bits=8, block_size=32, is_symmetric=True)
    quantizer.process()
    return [node.op_type for node in quantizer.model.model.graph.node]


found = {kind: quantized(kind) for kind in ("MatMul", "Gemm")}
for kind, nodes in found.items():
    print(f"{kind} of {SIDE} x {SIDE} becomes {', '.join(nodes)}")
raise SystemExit(0 if found == {"MatMul": ["MatMulNBits"], "Gemm": ["Gemm"]} else 1)
PY
