#!/usr/bin/env bash
# sentence-transformers 6.2.0 with include_prompt: false counts the tokens of the prompt alone and leaves that many tokens out of the mean.
# Byte-level tokenizers join the prompt's last blank to the first word of the text, so the count is one too large. A text of one token
# then has nothing left to pool and becomes the zero vector, without an error. Without the blank, or with a line feed, all is well.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy
import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

backend = Tokenizer(models.BPE())
backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
backend.decoder = decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<eos>"], initial_alphabet=alphabet)
backend.train_from_iterator(["Find: a cat", "a dog"] * 9, trainer)
PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<eos>").save_pretrained("model")
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=2, is_causal=False,
)
LlamaModel(config).save_pretrained("model")
encoder = SentenceTransformer(modules=[Transformer("model"), Pooling(32, "mean", include_prompt=False)])
print("sentence-transformers", sentence_transformers.__version__)
norms = {}
for prompt in ("Find: ", "Find:", "Find:\n"):
    norms[prompt] = float(numpy.linalg.norm(encoder.encode(["a"], prompt=prompt, show_progress_bar=False)))
    print(repr(prompt), "norm of the vector of 'a':", round(norms[prompt], 3))
zero = norms.pop("Find: ") == 0
raise SystemExit(0 if zero and all(norm > 0.1 for norm in norms.values()) else 1)
PY
