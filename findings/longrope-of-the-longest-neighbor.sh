#!/usr/bin/env bash
# transformers 5.23.0: a Phi-3 with "longrope" has one set of RoPE factors for inputs up to the length of its
# first training, and another set for longer ones. One would guess that a text's own length decides. The width
# of the whole batch does, padding included: the same text has other states next to a longer text, or if it is
# padded to a fixed length, although the padding is masked. The model is causal and pads on the right here, so
# nothing else of the batch reaches the text.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" torch==2.13.0 transformers==5.23.0
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - 2>/dev/null <<'PY'
from importlib.metadata import version

import torch
from transformers import Phi3Config, Phi3Model

FIRST, TEXT = 32, 24
for name in ("transformers", "torch"):
    print(name, version(name))
torch.manual_seed(0)
factors = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 8, "long_factor": [8.0] * 8}
shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
config = Phi3Config(
    vocab_size=100, pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.3, **shape,
    max_position_embeddings=4 * FIRST, original_max_position_embeddings=FIRST,
    rope_parameters={**factors, "original_max_position_embeddings": FIRST},
)
model = Phi3Model(config).eval()
text = torch.randint(3, 100, (1, TEXT))


@torch.no_grad()
def states(width, neighbor=None):
    """The text's states in a batch that is padded on the right to a width."""
    ids = torch.zeros(1 if neighbor is None else 2, width, dtype=torch.long)
    ids[0, :TEXT] = text
    if neighbor is not None:
        ids[1, : len(neighbor)] = neighbor
    return model(input_ids=ids, attention_mask=(ids > 0).long()).last_hidden_state[0, :TEXT]


alone = states(TEXT)
batches = {
    "padded to 32": states(FIRST),
    "padded to 33": states(FIRST + 1),
    "next to 32 tokens": states(FIRST, torch.randint(3, 100, (FIRST,))),
    "next to 33 tokens": states(FIRST + 1, torch.randint(3, 100, (FIRST + 1,))),
}
distances = {}
for name, found in batches.items():
    distances[name] = float((found - alone).norm() / alone.norm())
    print(f"a text of {TEXT} tokens, {name}: distance from the text alone {distances[name]:.1e} of its norm")
short, long = ("padded to 32", "next to 32 tokens"), ("padded to 33", "next to 33 tokens")
right = all(distances[name] < 1e-5 for name in short) and all(distances[name] > 0.05 for name in long)
raise SystemExit(0 if right else 1)
PY
