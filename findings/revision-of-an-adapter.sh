#!/usr/bin/env bash
# sentence-transformers 6.2.0, transformers 5.23.0, peft 0.21.2: an adapter's config names its base model and
# the revision of the base that it was trained on. One would guess that each library loads this revision. peft's
# AutoPeftModel does. SentenceTransformer and transformers' AutoModel load the main branch, so the adapter lies
# over other weights as soon as the base has a newer commit, without a warning.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --target "$work/packages" torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0 peft==0.21.2
export HF_HUB_OFFLINE=1 HF_HOME="$work/home" TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
export PYTHONPATH="$work/packages" PYTHONNOUSERSITE=1
cd "$work"
python3 -W ignore - 2>/dev/null <<'PY'
import os
from importlib.metadata import version
from pathlib import Path

import torch
from peft import AutoPeftModelForFeatureExtraction, LoraConfig, get_peft_model
from sentence_transformers.models import Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, BertConfig, BertModel, PreTrainedTokenizerFast

for name in ("sentence-transformers", "transformers", "peft"):
    print(name, version(name))
words = ["[PAD]", "[UNK]", "a", "text"]
pieces = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
pieces.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, pad_token="[PAD]", unk_token="[UNK]")
shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}

# two commits of one repository as huggingface_hub keeps them: the weights are all 1 in the first, all 2 in the second
repository = Path(os.environ["HF_HOME"]) / "hub" / "models--owner--base"
commits = {"first": "1" * 40, "second": "2" * 40}
for value, commit in enumerate(commits.values(), 1):
    model = BertModel(BertConfig(vocab_size=len(words), **shape))
    torch.nn.init.constant_(model.embeddings.word_embeddings.weight, value)
    model.save_pretrained(repository / "snapshots" / commit)
    tokenizer.save_pretrained(repository / "snapshots" / commit)
(repository / "refs").mkdir()
(repository / "refs" / "main").write_text(commits["second"])
(repository / "refs" / "v1").write_text(commits["first"])

base = AutoModel.from_pretrained("owner/base", revision="v1")
get_peft_model(base, LoraConfig(target_modules=["query"], revision="v1")).save_pretrained("adapter")
tokenizer.save_pretrained("adapter")
loaded = {
    "peft": AutoPeftModelForFeatureExtraction.from_pretrained("adapter"),
    "transformers": AutoModel.from_pretrained("adapter"),
    "sentence-transformers": Transformer("adapter").auto_model,
}
found = {}
for name, model in loaded.items():
    (weight,) = [value for key, value in model.named_parameters() if "word_embeddings" in key]
    found[name] = {1.0: "v1", 2.0: "main"}[float(weight[-1, 0])]
    print(f"adapter of the base's revision v1: {name} loads the base's {found[name]}")
raise SystemExit(0 if found == {"peft": "v1", "transformers": "main", "sentence-transformers": "main"} else 1)
PY
