#!/usr/bin/env bash
# peft 0.21.2: a LoRA on lm_head of a model with tied embeddings acts on the logits alone while it is attached. merge_and_unload adds it to the
# shared matrix, so the input embedding changes too, and with it every hidden state. An encoder made from the merged model is not the
# one that was trained. With untied embeddings the states stay.
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
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM


def moved(tied):
    """Largest change of a hidden state by merging."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, tie_word_embeddings=tied,
    )
    model = get_peft_model(LlamaForCausalLM(config), LoraConfig(r=4, target_modules=["lm_head"], task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter)
    model.eval()
    ids = torch.arange(10)[None]
    before = model(ids, output_hidden_states=True).hidden_states[-1]
    after = model.merge_and_unload()(ids, output_hidden_states=True).hidden_states[-1]
    return float((before - after).abs().max())


print("peft", peft.__version__, "transformers", transformers.__version__)
sizes = {tied: moved(tied) for tied in (True, False)}
print("change of the states by merging: tied %.3f, untied %.1e" % (sizes[True], sizes[False]))
raise SystemExit(0 if sizes[True] > 0.1 and sizes[False] < 1e-5 else 1)
PY
