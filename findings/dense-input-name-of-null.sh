#!/usr/bin/env bash
# sentence-transformers 6.2.0: a Dense module has two names in its config.json, that of its input and that of
# its output. null for the output means "the same as the input". One would guess that null for the input means
# its default, or that the folder is refused when it is read. It is read without a warning, and the first
# encode raises a TypeError.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - 2>/dev/null <<'PY'
import json
from importlib.metadata import version
from pathlib import Path

from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

for name in ("sentence-transformers", "transformers"):
    print(name, version(name))
words = ["[PAD]", "[UNK]", "a", "text"]
pieces = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
pieces.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
PreTrainedTokenizerFast(tokenizer_object=pieces, pad_token="[PAD]", unk_token="[UNK]").save_pretrained("model")
shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
BertModel(BertConfig(vocab_size=len(words), **shape)).save_pretrained("model")
SentenceTransformer(modules=[Transformer("model"), Pooling(16, "mean"), Dense(16, 8)]).save("encoder")
config = next(Path("encoder").glob("*_Dense")) / "config.json"
found = {}
for key in ("module_output_name", "module_input_name"):
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, key: None}))
    encoder = SentenceTransformer("encoder")
    try:
        found[key] = str(encoder.encode("a text", show_progress_bar=False).shape)
    except Exception as error:
        found[key] = type(error).__name__
    config.write_text(json.dumps(values))
    print(f"{key}: null is read, and encode gives {found[key]}")
raise SystemExit(0 if found == {"module_output_name": "(8,)", "module_input_name": "TypeError"} else 1)
PY
