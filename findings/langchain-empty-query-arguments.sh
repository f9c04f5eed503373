#!/usr/bin/env bash
# langchain-huggingface 1.2.3: a user whose documents have a prompt and whose queries have none gives
# the documents' prompt in encode_kwargs, and query_encode_kwargs={}. One would guess that the empty
# mapping is used as given. It is not: an empty mapping counts as "not given", so embed_query runs
# with the arguments of the documents and puts their prompt before every query, without a warning.
# query_encode_kwargs={"prompt": ""} gives a query without a prompt.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0 langchain-huggingface==1.2.3
export HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error OMP_NUM_THREADS=1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
from importlib.metadata import version

import numpy
import torch
from langchain_huggingface import HuggingFaceEmbeddings
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

pieces = Tokenizer(models.BPE())
pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
pieces.decoder = decoders.ByteLevel()
pieces.train_from_iterator(
    ["passage: the moon", "tides"] * 9,
    trainers.BpeTrainer(vocab_size=290, special_tokens=["<end>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()),
)
PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="<end>", pad_token="<end>").save_pretrained("decoder")
torch.manual_seed(1)
shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
LlamaModel(LlamaConfig(vocab_size=290, is_causal=False, **shape)).save_pretrained("decoder")
model = SentenceTransformer(modules=[Transformer("decoder"), Pooling(32, "mean")])
model.save("encoder")

query, document = "tides", "passage: "
bare, prompted = model.encode(query), model.encode(query, prompt=document)


def cosine(one, other):
    return float(numpy.dot(one, other) / numpy.linalg.norm(one) / numpy.linalg.norm(other))


def asked(arguments):
    embeddings = HuggingFaceEmbeddings(
        model_name="encoder", encode_kwargs={"prompt": document}, query_encode_kwargs=arguments
    )
    return embeddings.embed_query(query)


for name in ("langchain-huggingface", "sentence-transformers"):
    print(name, version(name))
found = {
    "{}: to the query alone": cosine(asked({}), bare),
    "{}: to the query after the documents' prompt": cosine(asked({}), prompted),
    "{'prompt': ''}: to the query alone": cosine(asked({"prompt": ""}), bare),
}
for name, value in found.items():
    print(f"{name}: {value:.6f}")
alone, after, told = found.values()
raise SystemExit(0 if alone < 0.999 and min(after, told) > 0.99999 else 1)
PY
