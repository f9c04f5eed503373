#!/usr/bin/env bash
# torch 2.13.0, torch.onnx.export(dynamo=True): if two example inputs are the same tensor, for example a mask that serves as attention mask
# and as pool mask, the graph keeps both names and computes both from one of them. No warning says so. a * 10 + b of 1 and 5 gives
# 55. With a clone of the tensor it gives 15. torch.export itself is not asked about the values, so only a run with two different
# inputs shows it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import logging

import numpy
import onnxruntime
import torch

logging.disable(logging.WARNING)


class Both(torch.nn.Module):
    def forward(self, a, b):
        return a * 10 + b


def run(example):
    """Export with these examples, then run a = 1, b = 5."""
    program = torch.onnx.export(Both(), example, dynamo=True, input_names=["a", "b"], verbose=False)
    program.save("both.onnx")
    session = onnxruntime.InferenceSession("both.onnx", providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    ones = numpy.ones(2, dtype="float32")
    return names, float(session.run(None, {"a": ones, "b": 5 * ones})[0][0])


tensor = torch.ones(2)
found = {"same tensor": run((tensor, tensor)), "clone": run((tensor, tensor.clone()))}
print("torch", torch.__version__, "onnxruntime", onnxruntime.__version__)
for name, (names, value) in found.items():
    print(f"{name}: inputs {names}, 1 * 10 + 5 = {value}")
right = found == {"same tensor": (["a", "b"], 55.0), "clone": (["a", "b"], 15.0)}
raise SystemExit(0 if right else 1)
PY
