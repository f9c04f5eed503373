#!/usr/bin/env bash
# tokenizers 0.23.3: a tokenizer has a template that puts BOS before a text, and a Sequence adds another template
# that puts EOS behind it. One would guess BOS, the text, EOS. The second template takes BOS and the text for a
# pair of texts, so its rule for pairs applies. If it has none, EOS is missing, although its place is reserved
# in a text that is cut. If it has one, EOS also comes between BOS and the text. One template with both tokens
# does what one would guess.
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
from tokenizers.processors import Sequence, TemplateProcessing

LENGTH = 5
print("tokenizers", version("tokenizers"))
words = ["<s>", "</s>", "[UNK]", "one", "two", "three", "four", "five"]
bos, eos = ("<s>", 0), ("</s>", 1)
first = TemplateProcessing(single="<s> $A", special_tokens=[bos])
second = {"single": "$A </s>", "special_tokens": [eos]}
processors = {
    "one template": TemplateProcessing(single="<s> $A </s>", special_tokens=[bos, eos]),
    "two": Sequence([first, TemplateProcessing(**second)]),
    "two, with a rule for pairs": Sequence([first, TemplateProcessing(**second, pair="$A </s> $B </s>")]),
}
found = {}
for name, processor in processors.items():
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processor
    whole = tokenizer.encode("one two").tokens
    tokenizer.enable_truncation(LENGTH)
    cut = tokenizer.encode("one two three four five").tokens
    found[name] = [" ".join(whole), len(cut)]
    print(f"{name}: {' '.join(whole)}; five words cut to {LENGTH} tokens: {' '.join(cut)}")
expected = {
    "one template": ["<s> one two </s>", LENGTH],
    "two": ["<s> one two", LENGTH - 1],
    "two, with a rule for pairs": ["<s> </s> one two </s>", LENGTH + 1],
}
raise SystemExit(0 if found == expected else 1)
PY
