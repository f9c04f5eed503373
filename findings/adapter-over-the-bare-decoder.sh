#!/usr/bin/env bash
# peft 0.21.2: a LoRA adapter that was trained over AutoModelForCausalLM and is then put over AutoModel (the bare decoder, as encoders
# use it) finds none of its tensors, because their names lack one 'model.'. peft warns, leaves fresh factors in place, and the model
# answers exactly as the base does. transformers' own load_adapter maps the names and gives the right states.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 peft==0.21.2
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import peft
import torch
import transformers
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from transformers import AutoModel, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2
)
LlamaForCausalLM(config).save_pretrained("base")
lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
trained = get_peft_model(AutoModelForCausalLM.from_pretrained("base"), lora).eval()
for name, parameter in trained.named_parameters():
    if "lora_" in name:
        torch.nn.init.normal_(parameter)
trained.save_pretrained("adapter")
ids = torch.arange(10)[None]
right = trained.base_model.model.model(ids).last_hidden_state
bare = AutoModel.from_pretrained("base").eval()(ids).last_hidden_state
settings = PeftConfig.from_pretrained("adapter")
settings.task_type = None
loaded = PeftModel.from_pretrained(AutoModel.from_pretrained("base"), "adapter", config=settings).eval()
states = loaded(ids).last_hidden_state
mapped = AutoModel.from_pretrained("base")
mapped.load_adapter("adapter")
own = mapped.eval()(ids).last_hidden_state
print("peft", peft.__version__, "transformers", transformers.__version__)
sizes = [float((a - b).abs().max()) for a, b in ((states, right), (states, bare), (own, right))]
print("peft against right: %.3f, peft against the base: %.3f, load_adapter against right: %.3f" % tuple(sizes))
raise SystemExit(0 if sizes[0] > 0.5 and sizes[1] == 0 and sizes[2] < 1e-5 else 1)
PY
