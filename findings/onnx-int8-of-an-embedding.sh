#!/usr/bin/env bash
# onnxruntime 1.32.0: quantize_dynamic is meant for the matrix products of a text model. One would guess that
# a table of embeddings stays in float32, or gets a scale for each token, as rows of weights usually do. The
# whole table is stored in 8 bits with one scale, even with per_channel=True, so a single token with large
# numbers (some models have one for BOS) rounds all other tokens to a few steps.
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

TOKENS, SIDE = 50, 64
for name in ("onnxruntime", "onnx"):
    print(name, version(name))


def least(largest):
    table = 0.02 * np.random.default_rng(0).standard_normal((TOKENS, SIDE)).astype(np.float32)
    table[0] *= largest
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["tokens"])
    out = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["tokens", SIDE])
    node = helper.make_node("Gather", ["table", "ids"], ["x"])
    graph = helper.make_graph([node], "embedding", [ids], [out], [numpy_helper.from_array(table, "table")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), "float.onnx")
    quantize_dynamic("float.onnx", "int8.onnx", per_channel=True)
    scales = [each.dims for each in onnx.load("int8.onnx").graph.initializer if "scale" in each.name]
    session = onnxruntime.InferenceSession("int8.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"ids": np.arange(1, TOKENS)})
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(table[1:], axis=1)
    cosine = float(np.min((found * table[1:]).sum(1) / np.maximum(lengths, 1e-12)))
    print(f"first token {largest} times as large: shapes of the scales {[list(dims) for dims in scales]}, least cosine {cosine:.3f}")
    return cosine


raise SystemExit(0 if least(1) > 0.999 and least(100) < 0.95 else 1)
PY
