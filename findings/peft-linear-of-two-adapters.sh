#!/usr/bin/env bash
# peft 0.21.2: add_weighted_adapter(["a", "b"], [0.5, 0.5], "c", combination_type="linear"). One would guess
# that the weights of c are the mean of the weights that a and b add to the model. The factors are summed
# instead, each with the root of its weight: (A1 + A2)(B1 + B2) has the products of one adapter's A with the
# other's B too. For two random adapters the result is as far from the mean as the mean is from zero. "cat"
# gives the mean.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" torch==2.13.0 transformers==5.23.0 peft==0.21.2
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
from importlib.metadata import version

import torch
from peft import LoraConfig, get_peft_model

for name in ("peft", "torch"):
    print(name, version(name))
torch.manual_seed(0)
config = LoraConfig(r=4, lora_alpha=4, target_modules=["0"], init_lora_weights=False)
model = get_peft_model(torch.nn.Sequential(torch.nn.Linear(64, 64, bias=False)), config, "a")
model.add_adapter("b", config)
layer = model.base_model.model[0]
mean = (layer.get_delta_weight("a") + layer.get_delta_weight("b")) / 2
errors = {}
for kind in ("cat", "linear"):
    model.add_weighted_adapter(["a", "b"], [0.5, 0.5], kind, combination_type=kind)
    errors[kind] = float((layer.get_delta_weight(kind) - mean).norm() / mean.norm())
    print(f"{kind}: distance from the mean {errors[kind]:.1e} of its norm")
raise SystemExit(0 if errors["cat"] < 1e-5 and errors["linear"] > 0.5 else 1)
PY
