#!/usr/bin/env bash
# `is_causal: false` in the config of a Llama makes transformers 5.2.0 run it bidirectionally. transformers 5.0.0 and 5.1.0 read the same file
# without a word and run it causally, so a folder's vectors depend on the minor release.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.2.0
for version in 5.0.0 5.1.0; do
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$work/$version" transformers==$version
done
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
cat > run.py <<'PY'
import torch
import transformers
from transformers import AutoConfig, AutoModel, LlamaConfig, LlamaModel

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, is_causal=False
)
LlamaModel(config).save_pretrained("model")
assert AutoConfig.from_pretrained("model").is_causal is False
model = AutoModel.from_pretrained("model").eval()
first = torch.tensor([[5, 6, 7, 8, 9, 10]])
second = first.clone()
second[0, -1] = 30
with torch.no_grad():
    moved = (model(first).last_hidden_state - model(second).last_hidden_state)[0, :-1].abs().max()
# the texts differ in their last token alone: in a causal model no earlier state may change
print(transformers.__version__, "causal" if moved == 0 else "bidirectional")
PY
{
  PYTHONPATH=$work/5.0.0 venv/bin/python -W ignore run.py
  PYTHONPATH=$work/5.1.0 venv/bin/python -W ignore run.py
  venv/bin/python -W ignore run.py
} 2>/dev/null | tee output
printf '%s\n' "5.0.0 causal" "5.1.0 causal" "5.2.0 bidirectional" | diff - output
