#!/usr/bin/env bash
# sentence-transformers 6.2.0 with transformers 5.23.0: encode(output_value="token_embeddings") gives a vector
# for each token of a text, and leaves out padding. A tokenizer of a decoder often pads on the left. One would
# guess that padding is left out on either side. It is cut off at the end alone: a text of three tokens next
# to one of twelve gets twelve vectors, of which the first nine are those of padding tokens.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - 2>/dev/null <<'PY'
from importlib.metadata import version

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

for name in ("sentence-transformers", "transformers"):
    print(name, version(name))
words = ["[PAD]", "[UNK]", *(f"w{number}" for number in range(20))]
pieces = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
pieces.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
torch.manual_seed(3)
shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
model = LlamaModel(LlamaConfig(vocab_size=len(words), **shape))
short, long = "w3 w5 w1", " ".join(words[2:14])
found = {}
for side in ("right", "left"):
    PreTrainedTokenizerFast(
        tokenizer_object=pieces, pad_token="[PAD]", unk_token="[UNK]", padding_side=side
    ).save_pretrained(side)
    model.save_pretrained(side)
    encoder = SentenceTransformer(modules=[Transformer(side, max_seq_length=32), Pooling(16, "mean")])
    alone = encoder.encode(short, output_value="token_embeddings", show_progress_bar=False)
    beside = encoder.encode([short, long], output_value="token_embeddings", show_progress_bar=False)[0]
    found[side] = len(alone), len(beside)
    tail = float((alone - beside[-3:]).abs().max())
    print(f"{side} padding: {len(alone)} vectors alone, {len(beside)} next to a longer text; last three differ by {tail:.1e}")
raise SystemExit(0 if found == {"right": (3, 3), "left": (3, 12)} else 1)
PY
