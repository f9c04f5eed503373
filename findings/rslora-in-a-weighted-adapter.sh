#!/usr/bin/env bash
# peft 0.21.2: add_weighted_adapter joins adapters into a new one. With combination_type "cat" and the
# weight 1, one would guess that the new adapter changes the model as the old one did. So it is for plain
# LoRA. It is not for rsLoRA, which scales by alpha / sqrt(r) and not by alpha / r: the new adapter takes
# over use_rslora, and its alpha is set to its rank. Its scale is then sqrt(r), where 1 would be right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 peft==0.21.2
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaModel

shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
for name in ("peft", "transformers", "torch"):
    print(name, version(name))
ratios = []
for rslora, rank in ((False, 4), (True, 4), (True, 16)):
    torch.manual_seed(0)
    config = LoraConfig(r=rank, lora_alpha=8, use_rslora=rslora, target_modules=["q_proj"], init_lora_weights=False)
    model = get_peft_model(LlamaModel(LlamaConfig(vocab_size=100, **shape)), config)
    model.add_weighted_adapter(["default"], [1.0], "joined", combination_type="cat")
    layer = model.base_model.model.layers[0].self_attn.q_proj
    ratio = float(layer.get_delta_weight("joined").norm() / layer.get_delta_weight("default").norm())
    ratios.append(round(ratio, 3))
    print(f"use_rslora={rslora}, r={rank}: the joined adapter's change of the weight is {ratio:.3f} times the adapter's own")
raise SystemExit(0 if ratios == [1.0, 2.0, 4.0] else 1)
PY
