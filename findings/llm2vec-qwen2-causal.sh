#!/usr/bin/env bash
# llm2vec 0.2.3 with transformers 4.44.2, the newest that it allows: its Qwen2BiModel is causal on a CPU (eager and sdpa attention), while its
# LlamaBiModel is bidirectional. The Llama class builds its own mask; the Qwen2 class only marks its attention layers as not causal, and
# transformers still hands them a causal mask.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==4.44.2 peft==0.12.0 "numpy<2" "datasets==2.21.0" \
  evaluate scikit-learn tqdm
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps llm2vec==0.2.3 accelerate==1.1.1
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import torch
from llm2vec.models import LlamaBiModel, Qwen2BiModel
from transformers import LlamaConfig, Qwen2Config

shape = dict(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
)
classes = {"Llama": (LlamaBiModel, LlamaConfig), "Qwen2": (Qwen2BiModel, Qwen2Config)}
first = torch.tensor([[5, 6, 7, 8, 9, 10]])
second = first.clone()
second[0, -1] = 30
print("llm2vec", version("llm2vec"), "transformers", version("transformers"))
moved = {}
for name, (model_class, config_class) in classes.items():
    for attention in ("eager", "sdpa"):
        torch.manual_seed(0)
        config = config_class(**shape, attn_implementation=attention)
        model = model_class(config).eval()
        with torch.no_grad():
            states = [model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state for ids in (first, second)]
        # the texts differ in their last token alone: in a causal model no earlier state may change
        moved[name, attention] = float((states[0] - states[1])[0, :-1].abs().max())
        print(name, attention, f"largest change of an earlier state: {moved[name, attention]:.6f}")
causal = all(moved["Qwen2", attention] == 0 for attention in ("eager", "sdpa"))
bidirectional = all(moved["Llama", attention] > 1e-3 for attention in ("eager", "sdpa"))
raise SystemExit(0 if causal and bidirectional else 1)
PY
