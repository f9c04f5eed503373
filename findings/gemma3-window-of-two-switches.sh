#!/usr/bin/env bash
# transformers 5.23.0: a Gemma 3 text model has two switches for bidirectional attention, and each gives the sliding window another width.
# With sliding_window 8, a token sees 4 on each side under use_bidirectional_attention (EmbeddingGemma's switch), 8 under is_causal: false,
# and 5 under both. So adding the general switch to a folder that has the family's own changes its vectors, on long texts only.
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
from transformers import Gemma3TextConfig, Gemma3TextModel


def reach(**switches):
    """Tokens on each side that the middle token sees in one sliding layer."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, sliding_window=8, layer_types=["sliding_attention"], **switches,
    )
    model = Gemma3TextModel(config).eval()
    ids = torch.arange(1, 42)[None]
    before = model(ids).last_hidden_state[0, 20]
    seen = []
    for place in range(41):
        changed = ids.clone()
        changed[0, place] = 60
        if (model(changed).last_hidden_state[0, 20] - before).abs().max() > 1e-6:
            seen.append(place - 20)
    return seen[0], seen[-1]


print("transformers", transformers.__version__)
found = [
    reach(use_bidirectional_attention=True),
    reach(is_causal=False),
    reach(use_bidirectional_attention=True, is_causal=False),
]
print("own switch, general switch, both:", found)
raise SystemExit(0 if found == [(-4, 4), (-8, 8), (-5, 5)] else 1)
PY
