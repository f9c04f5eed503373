#!/usr/bin/env bash
# peft 0.21.2, transformers 5.23.0: LoRA over a GLM-4 MoE, whose first layer is dense and whose other layer has experts.
# target_modules names the two projections of the dense layer by their full names, so one would expect factors there.
# peft compares the last part of each name alone, and gives the adapter to the experts of the other layer, which nobody
# named. The dense layer gets no factors. A name that no expert has, such as q_proj, is followed. With lora_dropout above 0
# the same names are an error about dropout.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" torch==2.13.0 transformers==5.23.0 peft==0.21.2
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
from importlib.metadata import version

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from transformers import Glm4MoeConfig, Glm4MoeModel

print("peft", version("peft"), "transformers", version("transformers"))
config = Glm4MoeConfig(
    vocab_size=32, hidden_size=32, intermediate_size=48, moe_intermediate_size=16, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, head_dim=8, n_routed_experts=4, num_experts_per_tok=2,
    n_shared_experts=1, first_k_dense_replace=1, n_group=1, topk_group=1,
)


def adapted(names, dropout=0.0):
    model = inject_adapter_in_model(
        LoraConfig(r=2, target_modules=names, lora_dropout=dropout), Glm4MoeModel(config)
    )
    return sorted(name for name, module in model.named_modules() if isinstance(module, LoraLayer))


dense = ["layers.0.mlp.gate_proj", "layers.0.mlp.up_proj"]
found = adapted(dense)
print("asked for:", dense)
print("adapted:  ", found)
attention = ["layers.0.self_attn.q_proj"]
print("asked for:", attention, "adapted:", adapted(attention))
try:
    adapted(dense, dropout=0.1)
    error = "none"
except ValueError as problem:
    error = str(problem)
print("with dropout:", error)
moved = bool(found) and all(name.startswith("layers.1.mlp.experts") for name in found)
raise SystemExit(0 if moved and adapted(attention) == attention and "lora_dropout" in error else 1)
PY
