#!/usr/bin/env bash
# sentence-transformers 6.2.0: a model that ends in Normalize gives unit vectors, and with truncate_dim it does not: the cut comes after the
# last module and nothing normalizes again. An index that ranks by inner product then ranks by length as well. normalize_embeddings=True
# in the call normalizes after the cut.
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
from sentence_transformers.models import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

words = {"<eos>": 0, "a": 1, "cat": 2, "dog": 3}
backend = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
backend.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<eos>").save_pretrained("model")
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=8, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2
)
LlamaModel(config).save_pretrained("model")
encoder = SentenceTransformer(modules=[Transformer("model"), Pooling(32, "mean"), Normalize()])
quiet = {"show_progress_bar": False}
vectors = [
    encoder.encode("a cat", **quiet),
    encoder.encode("a cat", truncate_dim=8, **quiet),
    encoder.encode("a cat", truncate_dim=8, normalize_embeddings=True, **quiet),
]
print("sentence-transformers", sentence_transformers.__version__)
norms = [round(float(numpy.linalg.norm(vector)), 4) for vector in vectors]
print("whole, cut, cut and normalized in the call:", norms)
raise SystemExit(0 if norms[0] == norms[2] == 1.0 and norms[1] < 0.9 else 1)
PY
