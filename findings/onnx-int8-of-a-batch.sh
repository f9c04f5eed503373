#!/usr/bin/env bash
# onnxruntime 1.32.0: quantize_dynamic stores weights in 8 bits and rounds activations while the graph runs.
# One would guess that a text has one vector, whichever texts are encoded together with it. But the scale of
# the activations is that of the whole batch, padding included: next to a row with larger numbers, a row is
# rounded more coarsely and its output is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
export OMP_NUM_THREADS=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - 2>/dev/null <<'PY'
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

SIDE = 64
for name in ("onnxruntime", "onnx"):
    print(name, version(name))
draw = np.random.default_rng(0)
weight = draw.standard_normal((SIDE, SIDE)).astype(np.float32)
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", SIDE]) for name in ("x", "y")]
node = helper.make_node("MatMul", ["x", "w"], ["y"])
graph = helper.make_graph([node], "linear", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w")])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), "float.onnx")
quantize_dynamic("float.onnx", "int8.onnx")
print("int8 graph:", ", ".join(node.op_type for node in onnx.load("int8.onnx").graph.node))

row = draw.standard_normal((1, SIDE)).astype(np.float32)
mate = 100 * draw.standard_normal((1, SIDE)).astype(np.float32)
cosines = {}
for name in ("float.onnx", "int8.onnx"):
    session = onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])
    alone, beside = (session.run(None, {"x": rows})[0][0] for rows in (row, np.concatenate([row, mate])))
    cosines[name] = float(alone @ beside / np.linalg.norm(alone) / np.linalg.norm(beside))
    print(f"{name}: cosine of the row alone and the row next to another one {cosines[name]:.4f}")
raise SystemExit(0 if cosines["float.onnx"] > 0.9999 and cosines["int8.onnx"] < 0.97 else 1)
PY
