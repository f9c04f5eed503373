#!/usr/bin/env bash
# transformers 5.23.0, torch 2.13.0: a Mixtral as it is built by default has no ONNX form. Its
# experts run through grouped_mm, on the CPU through an operator of transformers' own, for which
# torch.onnx.export(dynamo=True) has no function ("transformers.grouped_mm_fallback").
# `attn_implementation="eager"`, which is the usual answer to a model that cannot be exported, does
# not touch it. `set_experts_implementation("batched_mm")` gives a graph.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 transformers==5.23.0
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import logging

import torch
import transformers

logging.disable(logging.WARNING)
config = transformers.MixtralConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=4,
    num_key_value_heads=2,
    num_local_experts=4,
    attn_implementation="eager",
)
model = transformers.MixtralModel(config).eval()


class States(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model(input_ids=ids, use_cache=False).last_hidden_state


def export():
    """Give "exported", or the operator that has no form."""
    shapes = {"ids": {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", min=2)}}
    example = (torch.ones(2, 5, dtype=torch.long),)
    try:
        with torch.no_grad():
            torch.onnx.export(States(), example, dynamo=True, dynamic_shapes=shapes, verbose=False)
    except Exception as error:
        while error.__cause__ is not None:
            error = error.__cause__
        return "grouped_mm_fallback" if "grouped_mm_fallback" in str(error) else str(error)[:200]
    return "exported"


print("torch", torch.__version__, "transformers", transformers.__version__)
found = {"default": export()}
model.set_experts_implementation("batched_mm")
found["batched_mm"] = export()
for name, said in found.items():
    print(f"experts {name}: {said}")
raise SystemExit(0 if found == {"default": "grouped_mm_fallback", "batched_mm": "exported"} else 1)
PY
