"""`bothways.compat.LLM2Vec` against the llm2vec package itself, on the same weights.

llm2vec 0.2.3 needs transformers 4.44.2, so it lives in an environment of its own:

    python -m venv peer && peer/bin/pip install llm2vec==0.2.3 transformers==4.44.2 peft==0.12.0
    LLM2VEC_PYTHON=peer/bin/python pytest tests/parity/test_llm2vec_package.py

Without LLM2VEC_PYTHON the tests are skipped. Where a tokenizer merges a wrapper's blank with the
first letters of a text, llm2vec pools a token more or less than the text has. The texts here are
chosen so that it does not.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import GemmaConfig, LlamaConfig, MistralConfig

import bothways as bw
from bothways.compat import LLM2Vec
from bothways.training.recipe.recipe import Recipe
from tiny import SENTENCES, TINY, tiny_model

PYTHON = os.environ.get("LLM2VEC_PYTHON")
PAIRS = [
    ["Given a web search query, retrieve passages:", "how much protein should a female eat"],
    ["Find: ", "summit define \n"],
    ["", "plain text"],
    ["Find:", " ".join(SENTENCES[:1] * 60)],
]
BASES: dict[str, tuple[Any, str]] = {
    "llama3": (LlamaConfig, "meta-llama/Meta-Llama-3-8B-Instruct"),
    "mistral": (MistralConfig, "mistralai/Mistral-7B-Instruct-v0.2"),
    "qwen": (LlamaConfig, "Qwen/Qwen2-7B-Instruct"),  # its name alone: tokenizers of the family bring tokens of their own
    "gemma": (GemmaConfig, "google/gemma-2b"),
    "plain": (LlamaConfig, "princeton-nlp/Sheared-LLaMA-1.3B"),
}
PEER = """
import json, sys, numpy, torch
from llm2vec import LLM2Vec
pairs, options = json.load(sys.stdin)
model = LLM2Vec.from_pretrained(**options, torch_dtype=torch.float32, attn_implementation="eager")
numpy.save(sys.argv[1], model.encode(pairs, show_progress_bar=False, device="cpu").numpy())
"""


def as_transformers_4_writes(folder: Path, name: str) -> Path:
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "rope_theta": config.pop("rope_parameters")["rope_theta"],
        "_name_or_path": name,
        "torch_dtype": config.pop("dtype"),
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = [" ".join(pair) for pair in tokenizer["model"]["merges"]]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    settings["model_input_names"] = ["input_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def as_peft_12_writes(folder: Path) -> Path:
    known = ("r", "lora_alpha", "lora_dropout", "target_modules", "bias", "task_type", "peft_type", "base_model_name_or_path")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({key: config[key] for key in known}))
    return folder


def both(tmp_path: Path, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    sent = json.dumps([PAIRS, options])
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([str(PYTHON), "-c", PEER, tmp_path / "peer.npy"], input=sent, text=True, check=True, env=environment)
    return LLM2Vec.from_pretrained(**options).encode(PAIRS).numpy(), np.load(tmp_path / "peer.npy")


@pytest.mark.skipif(PYTHON is None, reason="LLM2VEC_PYTHON names no environment with llm2vec")
@pytest.mark.parametrize("name", BASES)
def test_the_same_vectors(tmp_path: Path, name: str) -> None:
    kind, identity = BASES[name]
    wider = {"head_dim": 8} if kind is GemmaConfig else {}
    base = as_transformers_4_writes(tiny_model(tmp_path / name, kind, tokenizer={"add_bos": True}, **TINY, **wider), identity)
    for mode in ("mean", "weighted_mean", "eos_token"):
        ours, theirs = both(tmp_path, base_model_name_or_path=str(base), pooling_mode=mode)
        assert np.abs(ours - theirs).max() < 1e-5
    ours, theirs = both(tmp_path, base_model_name_or_path=str(base), enable_bidirectional=False)
    assert np.abs(ours - theirs).max() < 1e-5


@pytest.mark.skipif(PYTHON is None, reason="LLM2VEC_PYTHON names no environment with llm2vec")
def test_an_adapter_that_a_stage_has_kept(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "base", LlamaConfig, tokenizer={"add_bos": True}, **TINY)
    base = as_transformers_4_writes(folder, BASES["llama3"][1])
    stage = {"name": "mntp", "objective": {"kind": "mntp", "row_length": 32}, "data": {"source": "x"}, "batch": {"size": 2}}
    stage |= {"optim": {"lr": 1e-2, "steps": 4}, "adapter": {"r": 4}}
    made = Recipe.from_values({"name": "test", "base": str(base), "dtype": "float32", "stages": [stage]})
    bw.train(made, tmp_path / "out", texts=list(SENTENCES) * 4)
    kept = as_peft_12_writes(tmp_path / "out" / "adapters" / "1-mntp")
    ours, theirs = both(tmp_path, base_model_name_or_path=str(base), peft_model_name_or_path=str(kept))
    assert np.abs(ours - theirs).max() < 1e-5
    plain, _ = both(tmp_path, base_model_name_or_path=str(base))
    assert np.abs(ours - plain).max() > 1e-2
