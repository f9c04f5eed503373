#!/usr/bin/env bash
# transformers 5.23.0: a Llama with "dynamic" RoPE scaling stretches its frequencies for a text that is
# longer than the training length. One would guess that each text gets the frequencies of its own
# length. It does not: the frequencies of the longest text so far stay in the module and serve every
# later text that is longer than the training length too. The states of one text depend on what the
# process has read before it. Only a text within the training length resets them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import torch
from transformers import LlamaConfig, LlamaModel

torch.manual_seed(0)
shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
config = LlamaConfig(vocab_size=100, max_position_embeddings=32, rope_parameters=rope, **shape)
model = LlamaModel(config).eval()
draw = torch.Generator().manual_seed(1)
long, middle, short = (torch.randint(0, 100, (1, length), generator=draw) for length in (300, 33, 20))


def states(ids):
    with torch.no_grad():
        return model(ids).last_hidden_state


for name in ("transformers", "torch"):
    print(name, version(name))
found = {}
for name, ids in (("33 tokens", middle), ("20 tokens", short)):
    before = states(ids)
    states(long)
    found[name] = float((states(ids) - before).abs().max())
    print(f"{name}, after a text of 300 tokens: the states moved by {found[name]:.1e}")
raise SystemExit(0 if found["33 tokens"] > 1e-3 and found["20 tokens"] < 1e-5 else 1)
PY
