#!/usr/bin/env bash
# sentence-transformers 6.2.0 with include_prompt: false leaves the tokens of the prompt out of the mean. It counts them on the prompt alone, and
# takes one off if the last is a special token, which it holds for the EOS that a tokenizer adds. A prompt that itself ends in a special token,
# as chat formats do, is so counted one short, although this tokenizer adds nothing: the token is pooled with the text.
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
encoder = SentenceTransformer(modules=[Transformer("model"), Pooling(32, "mean", include_prompt=False)])
print("sentence-transformers", sentence_transformers.__version__)
off = {}
for prompt in ("Find:<start>", "<start>Find:"):
    count = len(tokenizer(prompt)["input_ids"])
    ids = tokenizer(prompt + "a cat")["input_ids"]
    assert ids[:count] == tokenizer(prompt)["input_ids"] and ids[-1] != tokenizer.eos_token_id, "nothing merges, nothing is added"
    with torch.no_grad():
        states = encoder[0].auto_model(torch.tensor([ids])).last_hidden_state[0]
    found = encoder.encode("a cat", prompt=prompt)
    off[prompt] = float(numpy.abs(found - states[count:].mean(0).numpy()).max())
    short = float(numpy.abs(found - states[count - 1 :].mean(0).numpy()).max())
    print(f"{prompt!r}: off the mean of the text by {off[prompt]:.4f}, off the mean of its last token and the text by {short:.4f}")
raise SystemExit(0 if off["Find:<start>"] > 0.01 and off["<start>Find:"] < 1e-5 else 1)
PY
