#!/usr/bin/env bash
# torch 2.13.0 with onnxscript 0.7.2, torch.onnx.export(dynamo=True): `tensor % x.shape[1]` has no
# form in the graph if that dimension is dynamic, and ends in ConversionError. The same module with
# `+`, `-`, `*` or `//` instead of `%` is exported, and so is `%` of a fixed number. torch.export
# itself accepts all of them. The places that a rolled row is read from are often written with `%`.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import logging

import onnxscript
import torch

logging.disable(logging.WARNING)
FORMS = {
    "+ size": lambda places, size: places + size,
    "- size": lambda places, size: places - size,
    "* size": lambda places, size: places * size,
    "// size": lambda places, size: places // size,
    "% 3": lambda places, size: places % 3,
    "% size": lambda places, size: places % size,
}


class Form(torch.nn.Module):
    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x):
        return self.form(x, x.shape[1])


def export(form):
    """Give "exported", or the class of the error."""
    shapes = {"x": {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", min=2)}}
    example = (torch.arange(10).reshape(2, 5),)
    torch.export.export(Form(form), example, dynamic_shapes=shapes)
    try:
        torch.onnx.export(Form(form), example, dynamo=True, dynamic_shapes=shapes, verbose=False)
    except Exception as error:
        return type(error).__name__
    return "exported"


print("torch", torch.__version__, "onnxscript", onnxscript.__version__)
found = {name: export(form) for name, form in FORMS.items()}
for name, said in found.items():
    print(f"tensor {name}: {said}")
expected = {name: "exported" for name in FORMS} | {"% size": "ConversionError"}
raise SystemExit(0 if found == expected else 1)
PY
