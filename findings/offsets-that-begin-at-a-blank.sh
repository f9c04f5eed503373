#!/usr/bin/env bash
# tokenizers 0.23.3: two byte-level tokenizers with the same tokens, whose post-processors differ in
# trim_offsets (Qwen2's is false, RoBERTa's is true). One would guess that a token's offsets are those of its
# word, as its text is the same in both. Without trimming, the token begins at the blank before the word. So
# "tokens that begin inside the second sentence" lose its first word, which late chunking then pools with the
# sentence before, or nowhere.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" tokenizers==0.23.3
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - <<'PY'
import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

print("tokenizers", tokenizers.__version__)
text = "Cats sleep. Dogs run."
second = text.index("Dogs"), len(text)
first_words = {}
for trim in (True, False):
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.post_processor = processors.ByteLevel(trim_offsets=trim)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    pieces.train_from_iterator([text] * 9, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
    found = pieces.encode(text)
    inside = [token for token, (start, end) in zip(found.tokens, found.offsets) if start >= second[0] and end <= second[1]]
    first_words[trim] = inside[0]
    print(f"trim_offsets {trim}: {list(zip(found.tokens, found.offsets))}")
    print(f"  inside {text[slice(*second)]!r}: {inside}")
raise SystemExit(0 if first_words == {True: "ĠDogs", False: "Ġrun"} else 1)
PY
