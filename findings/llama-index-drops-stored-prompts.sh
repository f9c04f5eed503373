#!/usr/bin/env bash
# llama-index-embeddings-huggingface 0.8.0 loads a sentence-transformers folder whose config stores the prompts "query" and "document". It
# calls encode(prompt_name="query"), which looks as if the stored prompt acted. But it also passes prompts={"query": "", "text": ""} when the
# model is loaded, and these replace the stored ones. So queries and texts get no prompt, without a warning. query_instruction= brings it back.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0 llama-index-embeddings-huggingface==0.8.0
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy
import torch
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
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
prompts = {"query": "Find:\n", "document": "Text:\n"}
SentenceTransformer(modules=[Transformer("model"), Pooling(32, "mean")], prompts=prompts).save("encoder")
stored = SentenceTransformer("encoder")
plain = HuggingFaceEmbedding(model_name="encoder")
told = HuggingFaceEmbedding(model_name="encoder", query_instruction="Find:\n", text_instruction="Text:\n")


def cosine(one, other):
    return float(numpy.dot(one, other) / numpy.linalg.norm(one) / numpy.linalg.norm(other))


for name in ("llama-index-embeddings-huggingface", "sentence-transformers"):
    print(name, version(name))
bare = stored.encode("a cat", prompt="")
found = {
    "query to encode_query": cosine(plain.get_query_embedding("a cat"), stored.encode_query("a cat")),
    "query to no prompt": cosine(plain.get_query_embedding("a cat"), bare),
    "text to encode_document": cosine(plain.get_text_embedding("a cat"), stored.encode_document("a cat")),
    "text to no prompt": cosine(plain.get_text_embedding("a cat"), bare),
    "query to encode_query, with query_instruction": cosine(told.get_query_embedding("a cat"), stored.encode_query("a cat")),
}
for name, value in found.items():
    print(f"{name}: {value:.6f}")
first, second, third, fourth, fifth = found.values()
raise SystemExit(0 if max(first, third) < 0.99 and min(second, fourth, fifth) > 0.99999 else 1)
PY
