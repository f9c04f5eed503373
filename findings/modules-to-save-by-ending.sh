#!/usr/bin/env bash
# peft 0.21.2: modules_to_save=["norm"] next to a LoRA is meant to train a decoder's last norm, whose name
# is "norm", as a whole. One would guess that names are compared by their parts, as target_modules are.
# They are compared by the ends of their letters, and "input_layernorm" ends in "norm", so all norms of all
# layers are trained and saved too.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 peft==0.21.2
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaModel

shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
for name in ("peft", "transformers"):
    print(name, version(name))


def trained(**names):
    model = get_peft_model(LlamaModel(LlamaConfig(vocab_size=100, **shape)), LoraConfig(r=4, init_lora_weights=False, **names))
    found = {name for name, weight in model.named_parameters() if weight.requires_grad}
    return sorted({name.split(".modules_to_save")[0].removeprefix("base_model.model.") for name in found if "norm" in name})


saved = trained(target_modules=["q_proj"], modules_to_save=["norm"])
print("norms trained with modules_to_save=['norm']:", ", ".join(saved))
layers = [f"layers.{layer}.{name}" for layer in (0, 1) for name in ("input_layernorm", "post_attention_layernorm")]
raise SystemExit(0 if saved == [*layers, "norm"] else 1)
PY
