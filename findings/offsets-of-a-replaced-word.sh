#!/usr/bin/env bash
# tokenizers 0.23.3: a normalizer replaces "colour" by "color", or each number by 0, before a text is cut into
# tokens. Offsets are those of the text as it was given. One would guess that the new token has the place of all
# that it replaces, as one in other letters has it. It has the place of the last letter alone: cut out of the text
# by its offsets, "colour" is "r" and 1984 is "4".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" tokenizers==0.23.3
export HF_HUB_OFFLINE=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
from importlib.metadata import version

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

print("tokenizers", version("tokenizers"))
cases = {
    "small letters": (normalizers.Lowercase(), "a COLOUR here", "colour"),
    "a word": (normalizers.Replace("colour", "color"), "a colour here", "color"),
    "numbers": (normalizers.Replace(Regex("[0-9]+"), "0"), "in 1984 here", "0"),
    "two words for one": (normalizers.Replace("UK", "United Kingdom"), "the UK here", "Kingdom"),
}
found = {}
for name, (normalizer, text, word) in cases.items():
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, word: 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.normalizer = normalizer
    encoded = tokenizer.encode(text)
    begin, end = encoded.offsets[encoded.tokens.index(word)]
    found[name] = text[begin:end]
    print(f"{name}: token {word!r} of {text!r} has the offsets ({begin}, {end}), which is {found[name]!r}")
expected = {"small letters": "COLOUR", "a word": "r", "numbers": "4", "two words for one": "K"}
raise SystemExit(0 if found == expected else 1)
PY
