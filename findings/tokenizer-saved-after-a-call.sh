#!/usr/bin/env bash
# transformers 5.23.0 with tokenizers 0.23: a call with truncation=True, max_length=4 and padding="max_length"
# is meant for that call. One would guess that save_pretrained after it writes the tokenizer as it was. The
# settings of the last call are in tokenizer.json. transformers ignores them when it reads the file, but every
# program that reads it with the tokenizers library (servers in Rust, ONNX pipelines) cuts all texts to 4
# tokens and pads them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" transformers==5.23.0 tokenizers==0.23.3
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - 2>/dev/null <<'PY'
from importlib.metadata import version

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

for name in ("transformers", "tokenizers"):
    print(name, version(name))
words = ["[PAD]", "[UNK]", *(f"w{number}" for number in range(10))]
pieces = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
pieces.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, pad_token="[PAD]", unk_token="[UNK]")
text = " ".join(words[2:])
lengths = {}
for when in ("before", "after"):
    if when == "after":
        tokenizer(text, truncation=True, max_length=4, padding="max_length")
    tokenizer.save_pretrained(when)
    plain = Tokenizer.from_file(f"{when}/tokenizer.json")
    again = AutoTokenizer.from_pretrained(when)
    lengths[when] = [len(plain.encode(each).ids) for each in (text, "w1")], [len(again(each)["input_ids"]) for each in (text, "w1")]
    print(f"saved {when} the call: 10 words and 1 word are {lengths[when][0]} tokens for tokenizers, {lengths[when][1]} for transformers")
raise SystemExit(0 if lengths == {"before": ([10, 1], [10, 1]), "after": ([4, 4], [10, 1])} else 1)
PY
