#!/usr/bin/env bash
# sentence-transformers 6.2.0: encode_document takes the first of the prompts "document", "passage" and "corpus" that a model has, by its
# documentation. But every model gets an empty "document" prompt when it is loaded, so a folder that stores "passage" alone
# encodes documents without a prompt, and its default prompt does not step in. encode(prompt_name="passage") uses it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy
import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

backend = Tokenizer(models.BPE())
backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
backend.decoder = decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<eos>", "<start>"], initial_alphabet=alphabet)
backend.train_from_iterator(["Find: a cat", "a dog"] * 9, trainer)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<eos>", bos_token="<start>")
tokenizer.save_pretrained("model")
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=2, is_causal=False,
)
LlamaModel(config).save_pretrained("model")
prompts = {"query": "query: ", "passage": "passage: "}
SentenceTransformer(modules=[Transformer("model"), Pooling(32, "mean")], prompts=prompts, default_prompt_name="passage").save("encoder")
encoder = SentenceTransformer("encoder")
print("sentence-transformers", sentence_transformers.__version__, encoder.prompts)
found = encoder.encode_document("a cat")
to_passage = float(numpy.abs(found - encoder.encode("a cat", prompt_name="passage")).max())
to_none = float(numpy.abs(found - encoder.encode("a cat", prompt="")).max())
print("encode_document differs from the passage prompt by", round(to_passage, 4), "and from no prompt by", round(to_none, 6))
raise SystemExit(0 if to_passage > 0.01 and to_none < 1e-5 else 1)
PY
