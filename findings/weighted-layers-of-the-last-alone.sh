#!/usr/bin/env bash
# sentence-transformers 6.2.0: WeightedLayerPooling averages the states of the transformer's layers, but only when the Transformer module was
# told to hand them over (config_kwargs={"output_hidden_states": True}). Without it, nothing fails: the module passes on the last layer's states
# alone, whatever its weights say.
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
from sentence_transformers.models import Pooling, Transformer, WeightedLayerPooling
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

words = {"<eos>": 0, "a": 1, "cat": 2, "dog": 3}
backend = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
backend.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<eos>").save_pretrained("model")
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=8, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=2
)
model = LlamaModel(config).eval()
model.save_pretrained("model")


def vector(*layers, **arguments):
    modules = [Transformer("model", **arguments), *layers, Pooling(32, "mean")]
    return SentenceTransformer(modules=modules, device="cpu").encode("a cat", show_progress_bar=False)


def first_and_last():
    # layer_start=1 leaves out the embeddings, so the weights belong to the three layers' outputs
    weights = torch.nn.Parameter(torch.tensor([1.0, 0.0, 1.0]))
    return WeightedLayerPooling(32, num_hidden_layers=3, layer_start=1, layer_weights=weights)


with torch.no_grad():
    states = model(torch.tensor([[1, 2]]), output_hidden_states=True).hidden_states
by_hand = ((states[1] + states[-1]) / 2).mean(1)[0].numpy()
last = vector()
silent = vector(first_and_last())
told = vector(first_and_last(), config_kwargs={"output_hidden_states": True})
print("sentence-transformers", sentence_transformers.__version__)
differences = {
    "without the flag, to the last layer alone": numpy.abs(silent - last).max(),
    "without the flag, to first and last layer": numpy.abs(silent - by_hand).max(),
    "with the flag, to first and last layer": numpy.abs(told - by_hand).max(),
}
for name, value in differences.items():
    print(f"{name}: {value:.4f}")
alone, missed, right = differences.values()
raise SystemExit(0 if alone < 1e-6 and missed > 1e-2 and right < 1e-5 else 1)
PY
