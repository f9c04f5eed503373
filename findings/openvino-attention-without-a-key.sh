#!/usr/bin/env bash
# openvino 2026.4.0 on a CPU: OpenVINO's scaled_dot_product_attention with a mask that hides all keys from a query
# (padding outside a window, for example). One would guess a vector of zeros: ONNX's operator Attention is defined
# so, and OpenVINO itself gives zeros if it reads that operator from a file. Its own operator gives NaN without a
# warning, and a mean that multiplies padding by zero is NaN too.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" openvino==2026.4.0 onnx==1.23.2 numpy==2.4.6
export OMP_NUM_THREADS=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
import numpy as np
import onnx
import openvino as ov
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from openvino import opset13 as operators

print("openvino", ov.__version__, "onnx", onnx.__version__)
TOKENS, WIDTH = 3, 4
SHAPES = {"query": [1, 1, TOKENS, WIDTH], "key": [1, 1, TOKENS, WIDTH], "value": [1, 1, TOKENS, WIDTH], "mask": [1, 1, TOKENS, TOKENS]}
kinds = {name: TensorProto.BOOL if name == "mask" else TensorProto.FLOAT for name in SHAPES}
inputs = [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in SHAPES.items()]
output = helper.make_tensor_value_info("states", TensorProto.FLOAT, SHAPES["query"])
graph = helper.make_graph([helper.make_node("Attention", list(SHAPES), ["states"])], "attention", inputs, [output])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
onnx.save(model, "model.onnx")
parameters = [operators.parameter(shape, np.bool_ if name == "mask" else np.float32) for name, shape in SHAPES.items()]
own = ov.Model([operators.scaled_dot_product_attention(*parameters, causal=False)], parameters, "attention")

rows = np.random.default_rng(0).standard_normal(SHAPES["query"]).astype(np.float32)
mask = np.ones(SHAPES["mask"], bool)
mask[0, 0, 0] = False  # the first query sees no key


def run(source):
    return ov.Core().compile_model(source, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([rows, rows, rows, mask])[0]


found = {
    "reference of ONNX": ReferenceEvaluator(model).run(None, dict(zip(SHAPES, (rows, rows, rows, mask))))[0],
    "openvino, Attention of a file": run("model.onnx"),
    "openvino, its own operator": run(own),
}
for name, states in found.items():
    print(f"{name}: without a key {states[0, 0, 0].tolist()}, the next query {states[0, 0, 1].round(3).tolist()}")
*zero, nan = found.values()
others = all(np.allclose(states[0, 0, 1:], zero[0][0, 0, 1:], atol=1e-5) for states in found.values())
right = others and not any(states[0, 0, 0].any() for states in zero)
raise SystemExit(0 if right and np.isnan(nan[0, 0, 0]).all() else 1)
PY
