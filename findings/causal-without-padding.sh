#!/usr/bin/env bash
# transformers 5.23.0, attention sdpa (the default): StableLM and Nemotron with is_causal: false are bidirectional if the batch has padding and
# causal if it has none. The state of the first token of a text changes when a longer text joins the batch. With attention eager they are
# bidirectional in both cases, as Llama is with either.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import torch
import transformers
from transformers import LlamaConfig, LlamaModel, NemotronConfig, NemotronModel, StableLmConfig, StableLmModel


def change(config_class, model_class, attention):
    """Largest change of a text's first state when a longer neighbor makes padding."""
    torch.manual_seed(0)
    config = config_class(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, is_causal=False, pad_token_id=0,
    )
    config._attn_implementation = attention
    model = model_class(config).eval()
    alone, both = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[5, 6, 7, 8, 0], [1, 2, 3, 4, 9]])
    first = model(alone, attention_mask=torch.ones_like(alone)).last_hidden_state[0, 0]
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    return float((first - model(both, attention_mask=mask).last_hidden_state[0, 0]).abs().max())


print("transformers", transformers.__version__)
right = True
with torch.no_grad():
    for classes in ((StableLmConfig, StableLmModel), (NemotronConfig, NemotronModel), (LlamaConfig, LlamaModel)):
        for attention in ("sdpa", "eager"):
            size = change(*classes, attention)
            print(classes[1].__name__, attention, f"{size:.1e}")
            right &= (size > 0.1) == (attention == "sdpa" and classes[1] is not LlamaModel)
raise SystemExit(0 if right else 1)
PY
