#!/usr/bin/env bash
# transformers 5.23.0: a model of type qwen2 gets Qwen2Tokenizer, whatever class its tokenizer_config.json names. That class builds its own
# pre-tokenizer, which writes every digit as a token of its own, and takes only vocabulary and merges from tokenizer.json. A tokenizer.json
# that keeps numbers whole is read whole by the tokenizers library and by servers built on it, and in pieces by transformers.
# Expected: 2 tokens against 10, and the model type llama follows the file.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 tokenizers==0.23.3
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import json
import pathlib

import tokenizers
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

text = "12345 67890"
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<eos>"], initial_alphabet=alphabet)
tokenizer.train_from_iterator([text] * 9, trainer)
print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)
print("tokenizer.json by itself:", tokenizer.encode(text).tokens)
counts = {}
for kind in ("llama", "qwen2"):
    folder = pathlib.Path(kind)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    counts[kind] = len(loaded.tokenize(text))
    print(kind, type(loaded).__name__, loaded.tokenize(text))
same = counts["llama"] == len(tokenizer.encode(text).ids) == 2
raise SystemExit(0 if same and counts["qwen2"] == 11 else 1)
PY
