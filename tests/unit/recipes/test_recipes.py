"""Recipes carry the published values, differ by base as published, and can be changed by keyword."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bothways import recipes
from bothways.errors import InputError
from bothways.training.optim import lr_factor
from bothways.training.run import Recipe


def test_llm2vec_has_the_published_values() -> None:
    made = recipes.llm2vec("meta-llama/Meta-Llama-3-8B-Instruct", "wiki.txt")
    mntp, simcse = made.stages
    assert (made.direction, made.pooling, made.max_length, made.seed) == ("bidirectional", "mean", 512, 42)
    assert (mntp.objective.mask_probability, mntp.objective.style, mntp.objective.row_length) == (0.2, "bert", 512)
    assert (mntp.batch.size, mntp.optim.lr, mntp.optim.epochs, mntp.optim.stop_after_steps) == (32, 5e-5, 3, 1000)
    assert (simcse.batch.size, simcse.optim.lr, simcse.optim.stop_after_steps) == (128, 3e-5, 1000)
    assert (simcse.objective.scale, simcse.objective.attention_dropout, simcse.objective.max_length) == (20, 0.3, 128)
    for stage in made.stages:
        assert stage.adapter is not None
        assert (stage.adapter.r, stage.adapter.scaling, stage.adapter.dropout) == (16, 2, 0.05)
        assert (stage.optim.schedule, stage.optim.warmup_steps) == ("linear", 0)
    per_epoch = 1_000_000 // simcse.batch.size
    assert lr_factor(simcse.optim, 1000, simcse.optim.horizon(per_epoch)) == pytest.approx(0.957, abs=1e-3)


def test_masking_follows_the_base() -> None:
    mistral = recipes.llm2vec("mistralai/Mistral-7B-Instruct-v0.2", "t.txt").stages[0].objective
    assert (mistral.mask_probability, mistral.style) == (0.8, "all_mask")
    unknown = recipes.llm2vec("smollm2-135m", "t.txt").stages[0].objective
    assert (unknown.mask_probability, unknown.style) == (0.2, "bert")


@pytest.mark.parametrize(
    ("base", "size", "lr"),
    [
        ("google-bert/bert-base-uncased", 64, 3e-5),
        ("google-bert/bert-large-uncased", 64, 1e-5),
        ("FacebookAI/roberta-base", 512, 1e-5),
        ("FacebookAI/roberta-large", 512, 3e-5),
    ],
)
def test_simcse_on_encoders_has_the_published_values(base: str, size: int, lr: float) -> None:
    made = recipes.simcse(base, "wiki.txt")
    (stage,) = made.stages
    assert (stage.batch.size, stage.optim.lr, stage.optim.epochs) == (size, lr, 1)
    assert (stage.objective.scale, stage.objective.max_length, stage.objective.mlp) == (20, 32, True)
    assert (made.pooling, stage.adapter, stage.objective.attention_dropout) == ("cls", None, None)


def test_simcse_knows_encoders_by_their_config(tmp_path: Path) -> None:
    for kind, pooling in (("bert", "cls"), ("xlm-roberta", "cls"), ("llama", "mean"), ("gpt2", "mean")):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))
        assert recipes.simcse(str(folder), "t.txt").pooling == pooling
    assert recipes.simcse("some/model", "t.txt", backbone="encoder").pooling == "cls"
    decoder = recipes.simcse("smollm2-135m", "t.txt", direction="causal")
    assert (decoder.pooling, decoder.direction, decoder.stages[0].objective.attention_dropout) == ("mean", "causal", 0.3)


@pytest.mark.parametrize("name", recipes.NAMES)
@pytest.mark.parametrize("preset", ["published", "laptop"])
def test_every_recipe_builds_from_its_defaults_and_round_trips(name: str, preset: str) -> None:
    entry = recipes.get(name)
    made = entry.build(preset=preset)
    assert (made.base, {stage.data.source for stage in made.stages}) == ("smollm2-135m", {("python-stdlib",)})
    assert Recipe.from_yaml(made.to_yaml()) == made
    assert "arXiv" in entry.description


def test_embedded_text_gives_documents_to_mntp_and_sentences_to_simcse() -> None:
    made = recipes.llm2vec()
    assert [stage.data.column for stage in made.stages] == ["text", "sentence"]
    assert [stage.data.column for stage in recipes.llm2vec(texts="a.txt").stages] == [None, None]


def test_texts_by_stage_and_changes_by_keyword() -> None:
    texts = {"mntp": ["a.txt", Path("b.txt")], "simcse": {"source": "c.jsonl", "column": "s", "limit": 5}}
    made = recipes.llm2vec("b", texts, preset="laptop", dev="stdlib", dev_every=7, seed=1, stages__simcse__optim__lr=2e-3)
    assert made.stages[0].data.source == ("a.txt", "b.txt")
    assert (made.stages[1].data.column, made.stages[1].data.limit) == ("s", 5)
    assert (made.seed, made.stages[1].optim.lr) == (1, 2e-3)
    assert made.stages[0].eval is None  # a lower MNTP loss is no better encoder
    assert made.stages[1].eval is not None
    assert (made.stages[1].eval.metric, made.stages[1].eval.every) == ("stdlib", 7)


def test_wrong_choices() -> None:
    with pytest.raises(InputError, match=r"preset: 'tiny' does not exist; there are published, laptop"):
        recipes.llm2vec(preset="tiny")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="did you mean 'simcse'"):
        recipes.get("simsce")
    with pytest.raises(InputError, match="none for stage 'simcse'"):
        recipes.llm2vec(texts={"mntp": "a.txt"})
    with pytest.raises(InputError, match=r"unknown key.*did you mean 'lr'"):
        recipes.llm2vec(stages__mntp__optim__lrr=1)
    with pytest.raises(InputError, match="backbone"):
        recipes.simcse(backbone="bert")  # type: ignore[arg-type]
