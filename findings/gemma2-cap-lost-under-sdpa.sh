#!/usr/bin/env bash
# transformers 5.20.2, torch 2.13.0: Gemma 2 caps its attention scores (config.attn_logit_softcapping). One
# would guess that a model opened without a choice of attention computes the cap. It opens with SDPA, which
# has no cap, and leaves it out without a warning: its states are those of the same weights with the cap
# taken out of the config, and not those of attn_implementation="eager". transformers 5.23.0 opens it with eager
# attention and refuses SDPA.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 5.20.2 5.23.0; do
    python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/$version" \
        torch==2.13.0 "transformers==$version"
done
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1 PYTHONNOUSERSITE=1
cd "$work"
cat > compare.py <<'PY'
import sys
from importlib.metadata import version

import torch
from transformers import AutoModel, Gemma2Config

torch.manual_seed(0)
CAP = 0.5
config = Gemma2Config(
    vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    head_dim=8, query_pre_attn_scalar=8, sliding_window=64, attn_logit_softcapping=CAP, initializer_range=0.5,
)
AutoModel.from_config(config).save_pretrained("model")
ids = torch.randint(5, 100, (1, 12))


def states(cap, **choice):
    model = AutoModel.from_pretrained("model", attn_logit_softcapping=cap, **choice).eval()
    with torch.no_grad():
        return model.config._attn_implementation, model(ids).last_hidden_state


chosen, plain = states(CAP)
capped, bare = states(CAP, attn_implementation="eager")[1], states(None, attn_implementation="eager")[1]
from_capped, from_bare = (float((plain - other).abs().max()) for other in (capped, bare))
try:
    refused = not states(CAP, attn_implementation="sdpa")
except ValueError:
    refused = True
print(f"transformers {version('transformers')}: opens with {chosen}; SDPA {'refused' if refused else 'accepted'}")
print(f"  largest difference to eager with the cap {from_capped:.6f}, without it {from_bare:.6f}")
loses = chosen == "sdpa" and from_capped > 0.01 and from_bare < 1e-4
keeps = chosen == "eager" and from_capped < 1e-4 < from_bare and refused
raise SystemExit(0 if {"5.20.2": loses, "5.23.0": keeps}[sys.argv[1]] else 1)
PY
for version in 5.20.2 5.23.0; do
    PYTHONPATH="$work/$version" python3 -W ignore compare.py "$version" 2>/dev/null
done
