#!/usr/bin/env bash
# peft 0.21.2: init_lora_weights="pissa_niter_1" starts a LoRA at the main directions of the weights
# and takes them out of the base, with a fast decomposition. save_pretrained stores the factors and the
# name of the initialization, and loading takes the main directions out of the base again. One would
# guess that the loaded adapter is the trained one, as it is with "pissa". It is not: the fast
# decomposition starts from random numbers, so each load takes away something else.
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
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaModel

torch.manual_seed(0)
shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
LlamaModel(LlamaConfig(vocab_size=100, **shape)).save_pretrained("base")
ids = torch.arange(1, 13)[None]


def states(model):
    with torch.no_grad():
        return model.eval()(ids).last_hidden_state


def base():
    return LlamaModel.from_pretrained("base")


for name in ("peft", "transformers", "torch"):
    print(name, version(name))
moved = {}
for kind in ("pissa", "pissa_niter_1"):
    torch.manual_seed(1)
    model = get_peft_model(base(), LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=kind))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(5):
        model(ids).last_hidden_state.pow(2).mean().mul(-1).backward()
        optimizer.step()
        optimizer.zero_grad()
    trained = states(model)
    model.save_pretrained(kind)
    again = []
    for seed in (2, 3):
        torch.manual_seed(seed)
        again.append(states(PeftModel.from_pretrained(base(), kind)))
    moved[kind] = [float((each - trained).abs().max()) for each in again]
    print(f"{kind}: the saved adapter, loaded twice, is {moved[kind][0]:.1e} and {moved[kind][1]:.1e} from the trained model")
raise SystemExit(0 if max(moved["pissa"]) < 1e-3 and min(moved["pissa_niter_1"]) > 1e-2 else 1)
PY
