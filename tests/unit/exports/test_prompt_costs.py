"""Prompts that a loader does not honor: each cosine against the loader itself or a plain loop, and
that an export says it.

With OLDER_ST_PYTHON, the Python of an environment with sentence-transformers 5, that release itself
is asked.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

import bothways as bw
from bothways.encoder.folder.card import is_ours
from bothways.exports.folders import folder_verify
from bothways.exports.gguf.llama_cpp import LoaderError
from bothways.exports.prompt_costs import prompt_costs
from bothways.exports.reference import SAMPLE, cosine, rows
from export_models import small_model
from tiny import tiny_llama

PROMPTS = {"default": "\n", "query": "Find:\n", "merged": "Find: "}
OLDER = os.environ.get("OLDER_ST_PYTHON")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("llama") / "base", "llama")


def encoder_of(base: Path, **options: Any) -> bw.Encoder:
    given = {"prompts": PROMPTS, "default_prompt": "default", "dtype": "float32", "device": "cpu"}
    return bw.convert(base, **{**given, **options})


def told(encoder: bw.Encoder, target: str, loader: str, effect: str) -> dict[str, float]:
    """Cosine by prompt; 1.0 where nothing is said."""
    found = {
        each.prompt: each.cosine for each in prompt_costs(encoder, target) if (each.loader, each.effect) == (loader, effect)
    }
    return {name: found.get(name, 1.0) for name in encoder.prompts}


@pytest.mark.parametrize("pooling", ["mean", "weighted_mean", "last"])
def test_a_server_pools_the_prompt(base: Path, tmp_path: Path, pooling: str) -> None:
    encoder = encoder_of(base, pooling=pooling)
    encoder.save(tmp_path / "saved")
    model, tokenizer = AutoModel.from_pretrained(tmp_path / "saved").eval(), AutoTokenizer.from_pretrained(tmp_path / "saved")
    for name, cost in told(encoder, "sentence-transformers", "plain transformers", "pools it with the text").items():
        states = model(**tokenizer(PROMPTS[name] + SAMPLE, return_tensors="pt")).last_hidden_state[0].detach().double().numpy()
        weights = {"mean": np.ones(len(states)), "weighted_mean": np.arange(1, len(states) + 1)}.get(pooling)
        vector = states[-1] if weights is None else weights @ states / weights.sum()
        assert cost == pytest.approx(cosine(vector, encoder.encode(SAMPLE, prompt_name=name)), abs=6e-5)


def test_a_default_prompt_that_nobody_adds(base: Path) -> None:
    encoder = encoder_of(base)
    (found,) = (each for each in prompt_costs(encoder, "gguf") if each.effect.startswith("does not put"))
    assert found.prompt == "default"
    assert found.cosine == pytest.approx(cosine(encoder.encode(SAMPLE, prompt=""), encoder.encode(SAMPLE)), abs=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "weighted_mean"])
def test_sentence_transformers_6_itself(base: Path, tmp_path: Path, pooling: str) -> None:
    encoder = encoder_of(base, pooling=pooling)
    encoder.save(tmp_path / "saved")
    model = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    costs = told(encoder, "sentence-transformers", "sentence-transformers 6", "leaves out the tokens of the prompt alone")
    for name, cost in costs.items():
        own = encoder.encode(SAMPLE, prompt_name=name)
        assert cost == pytest.approx(cosine(model.encode(SAMPLE, prompt_name=name), own), abs=6e-5), name
    assert min(costs.values()) < 0.9999  # a blank at the end merges with the text


@pytest.mark.parametrize("bos", [False, True])
def test_older_sentence_transformers(tmp_path: Path, bos: bool) -> None:
    """Without that release, against a plain loop over what its source does."""
    encoder = encoder_of(tiny_llama(tmp_path / "base", tokenizer={"add_bos": bos}))
    encoder.save(tmp_path / "saved")
    effect = "strips white space around it"
    costs = told(encoder, "sentence-transformers", "sentence-transformers before 6", effect)
    stops = [each.prompt for each in prompt_costs(encoder, "sentence-transformers") if each.cosine is None]
    assert stops == ([] if bos else ["default"])
    costs = {name: cost for name, cost in costs.items() if name not in stops}
    assert bos is (costs.get("default", 1.0) < 0.9999)
    if OLDER:
        for name in stops:
            with pytest.raises(LoaderError, match="IndexError"):
                folder_verify.run(OLDER, tmp_path / "saved", "sentence-transformers", [{"text": SAMPLE, "prompt": name}])
        given = [{"text": SAMPLE, "prompt": name} for name in costs]
        theirs = folder_verify.run(OLDER, tmp_path / "saved", "sentence-transformers", given)["vectors"][0]
    else:
        model = AutoModel.from_pretrained(tmp_path / "saved").eval()
        read = Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))
        theirs = []
        for prompt in (PROMPTS[name] for name in costs):
            left_out = len(read.encode(prompt.strip()).ids)
            if left_out == 1 and bos and not prompt.strip():
                left_out = 0  # it takes BOS for a special token at the end
            ids = AutoTokenizer.from_pretrained(tmp_path / "saved")((prompt + SAMPLE).strip(), return_tensors="pt")
            theirs.append(model(**ids).last_hidden_state[0].detach().double().numpy()[left_out:].mean(0))
    for (name, cost), vector in zip(costs.items(), theirs, strict=True):
        assert cost == pytest.approx(cosine(vector, encoder.encode(SAMPLE, prompt_name=name)), abs=6e-5), name


def test_an_export_says_it(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "bothways"):
        out = bw.export(encoder_of(base), tmp_path / "out", to="gguf")
    lines = [record.getMessage() for record in caplog.records]
    assert any(
        "llama.cpp and Ollama: prompt 'query': pools it with the text, so one short text has cosine 0." in line
        for line in lines
    )
    stored = json.loads((out / "bothways-export.json").read_text())["prompt_costs"]
    assert {each["prompt"] for each in stored} == set(PROMPTS) and all(each["cosine"] < 0.99995 for each in stored)
    assert "| llama.cpp and Ollama | default | does not put it before a text by itself | 0." in (out / "README.md").read_text()
    card = bw.export(encoder_of(base), tmp_path / "folder", to="sentence-transformers") / "README.md"
    assert "## Prompts that a loader does not honor" in card.read_text() and is_ours(card.read_text())
    caplog.clear()
    bw.export(encoder_of(base, prompts={}, default_prompt=None), tmp_path / "silent", to="gguf")
    assert not [record for record in caplog.records if "prompt" in record.getMessage()]
    assert "does not honor" not in (tmp_path / "silent" / "README.md").read_text()


def test_a_template_is_sent_with_its_end(base: Path) -> None:
    encoder = encoder_of(base, prompts={"task": "Text: {text}{eos}"}, default_prompt=None, pooling="last")
    (row,) = (row for row in rows(encoder) if row.case == "prompt task")
    assert row.text == f"Text: {SAMPLE}</s>" and row.cost == pytest.approx(1.0, abs=1e-6)
