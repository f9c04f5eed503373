#!/usr/bin/env bash
# transformers 5.23.0: add_eos_token: true in tokenizer_config.json has no effect on a tokenizer.json without EOS in its post-processor. An
# encoder that pools its last token was trained on EOS and gets the last word instead,
# without a warning.
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

import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer

backend = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2, "cat": 3}, unk_token="</s>"))
backend.pre_tokenizer = pre_tokenizers.Whitespace()
folder = pathlib.Path("model")
folder.mkdir()
backend.save(str(folder / "tokenizer.json"))
(folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "add_eos_token": True}
(folder / "tokenizer_config.json").write_text(json.dumps(settings))
loaded = AutoTokenizer.from_pretrained(folder)
tokens = loaded.convert_ids_to_tokens(loaded("a cat")["input_ids"])
print("transformers", transformers.__version__)
print("add_eos_token in the file: True, tokens of 'a cat':", tokens)
raise SystemExit(0 if tokens == ["a", "cat"] else 1)
PY
