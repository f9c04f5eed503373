#!/usr/bin/env bash
# sentence-transformers 5.1.2 with transformers 4.57.6: a decoder's prompt may be "\n" alone (a token that the
# text's first token can attend to). One would guess that it is a prompt of one token, which it is for the
# tokenizer. encode raises an IndexError: blanks around the prompt are removed before its tokens are counted,
# and then the last of no tokens is read. It does so for a prompt that is pooled too, although its tokens need
# not be counted then.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" torch==2.13.0 transformers==4.57.6 sentence-transformers==5.1.2
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - 2>/dev/null <<'PY'
import traceback
from importlib.metadata import version

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

for name in ("sentence-transformers", "transformers"):
    print(name, version(name))
letters = ["[PAD]", *sorted(pre_tokenizers.ByteLevel.alphabet())]
pieces = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, pad_token="[PAD]")
tokenizer.save_pretrained("model")
torch.manual_seed(3)
shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
LlamaModel(LlamaConfig(vocab_size=len(letters), **shape)).save_pretrained("model")
tokens = len(tokenizer("\n")["input_ids"])
print("tokens of the prompt:", tokens)
raised = {}
for include in (True, False):
    encoder = SentenceTransformer(modules=[Transformer("model"), Pooling(16, "mean", include_prompt=include)])
    try:
        encoder.encode("a text", prompt="\n", show_progress_bar=False)
        raised[include] = None
    except IndexError as error:
        raised[include] = traceback.extract_tb(error.__traceback__)[-1].name
    print(f"include_prompt {include}: {'a vector' if raised[include] is None else 'IndexError in ' + raised[include]}")
raise SystemExit(0 if tokens == 1 and set(raised.values()) == {"_get_prompt_length"} else 1)
PY
