#!/usr/bin/env bash
# sentence-transformers 6.2.0 with transformers 5.23.0: a tokenizer that cuts on the left
# (truncation_side: left), a prompt that is not pooled (include_prompt: false), and a text longer
# than max_seq_length. One would guess that the prompt is kept, or that the mean runs over every
# token that is left. Neither is so: the prompt is cut off as the leftmost part of the input, and the
# pooling then leaves out as many tokens of the text as the prompt had, without a warning.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

words = ["[PAD]", "[UNK]", "query", "about", ":", *(f"w{number}" for number in range(20))]
pieces = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
pieces.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
PreTrainedTokenizerFast(
    tokenizer_object=pieces, pad_token="[PAD]", unk_token="[UNK]", truncation_side="left"
).save_pretrained("model")
torch.manual_seed(3)
shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
BertModel(BertConfig(vocab_size=len(words), **shape)).save_pretrained("model")

transformer = Transformer("model", max_seq_length=8)
encoder = SentenceTransformer(modules=[transformer, Pooling(16, "mean", include_prompt=False)])
prompt = "query about : "
text = " ".join(f"w{number}" for number in range(20))

for name in ("sentence-transformers", "transformers"):
    print(name, version(name))
print("tokenizer keeps", transformer.tokenizer(prompt + text, truncation=True, max_length=8).tokens())
got = encoder.encode(text, prompt=prompt)
with torch.no_grad():
    ids = transformer.tokenizer(prompt + text, truncation=True, max_length=8, return_tensors="pt")["input_ids"]
    states = transformer.auto_model(ids)[0][0]
errors = [float(numpy.abs(states[skipped:].mean(0).numpy() - got).max()) for skipped in range(8)]
for skipped, error in enumerate(errors):
    print(f"mean of the kept tokens from {skipped} on: {error:.2e} from the vector")
kept = transformer.tokenizer(prompt + text, truncation=True, max_length=8).tokens()
raise SystemExit(0 if kept == text.split()[-8:] and errors[3] < 1e-6 and errors[0] > 0.01 else 1)
PY
