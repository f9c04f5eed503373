#!/usr/bin/env bash
# tokenizers 0.23.3: a text is cut to the tokens that a prompt leaves free, and BOS and EOS count as tokens of the
# text. One would guess that a budget below 2 is refused, or leaves BOS and EOS alone, as a budget of 2 does. With
# 1 or 0 nothing is cut: the whole text comes back, so the smallest budgets give the longest rows, without a
# warning.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" tokenizers==0.23.3
export HF_HUB_OFFLINE=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
from importlib.metadata import version

from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing

print("tokenizers", version("tokenizers"))
words = ["<s>", "</s>", "[UNK]", "one", "two", "three", "four", "five", "six"]
tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
found = {}
for budget in (4, 3, 2, 1, 0):
    tokenizer.enable_truncation(budget)
    found[budget] = tokenizer.encode("one two three four five six").tokens
    print(f"budget {budget}: {len(found[budget])} tokens, {' '.join(found[budget])}")
lengths = {budget: len(tokens) for budget, tokens in found.items()}
raise SystemExit(0 if lengths == {4: 4, 3: 3, 2: 2, 1: 8, 0: 8} else 1)
PY
