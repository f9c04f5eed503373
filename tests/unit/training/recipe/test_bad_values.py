"""Values that cannot be meant are refused before any work, and a failed start does not stand in the
way of the next one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import bothways as bw
from bothways.backbone.rope import RopeConfig
from bothways.errors import InputError, SourceError
from bothways.training.recipe.overrides import override
from bothways.training.recipe.recipe import Recipe
from tiny import tiny_llama

TEXTS = [f"the text number {number} of some that differ" for number in range(24)]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return str(tiny_llama(tmp_path_factory.mktemp("base")))


def stage(name: str, objective: dict[str, Any], size: int = 4, **more: Any) -> dict[str, Any]:
    values = {"name": name, "objective": objective, "data": {"source": "x"}, "batch": {"size": size}, "optim": {"steps": 2}}
    return {**values, **more}


def made(base: str, *stages: dict[str, Any], **more: Any) -> Recipe:
    return Recipe.from_values({"name": "r", "base": base, "dtype": "float32", "max_length": 32, "stages": stages, **more})


SIMCSE = {"kind": "contrastive", "attention_dropout": 0.1, "max_length": 16}
LABELLED = {"kind": "supervised", "max_length": 16}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stages.s.adapter.r=true", "adapter.r: expected a number, not true"),
        ("stages.s.optim.betas=[true, 0.9]", "optim.betas: expected a number, not true"),
        ("stages.s.optim.lr=.inf", "optim.lr: .*finite"),
        ("stages.s.optim.lr=.nan", "optim.lr: .*finite"),
        ("stages.s.optim.weight_decay=.inf", "optim.weight_decay: .*finite"),
        ("stages.s.objective.scale=.inf", "objective.*scale: .*finite"),
        (f"stages.s.adapter.r={10**25}", "adapter.r: a number of about 10\\^25"),
        (f"stages.s.batch.size={10**12}", "batch.size: a number of about 10\\^12"),
        ("seed=true", "seed: expected a number, not true"),
        ("max_length=true", "max_length: expected a number, not true"),
        ("stages.s.batch.size=1", "batch.size: a single text has no other text"),
        ("base=''", "base: is empty"),
        ("base_adapter=' '", "base_adapter: is empty"),
    ],
)
def test_a_value_that_cannot_be_meant(change: str, message: str) -> None:
    recipe = made("b", stage("s", SIMCSE))
    with pytest.raises(InputError, match=message) as caught:
        override(recipe, change)
    assert len(str(caught.value)) < 400


def test_what_is_unusual_and_right_is_taken() -> None:
    recipe = override(
        made("b", stage("s", LABELLED, size=1)),
        [f"seed={2**62}", "stages.s.gradient_checkpointing=true", "stages.s.optim.lr=1e-9"],
    )
    assert recipe.seed == 2**62
    assert recipe.stages[0].objective.in_batch is True


def test_a_factor_of_positions_is_finite() -> None:
    with pytest.raises(InputError, match=r"factor: .*finite"):
        RopeConfig.of({"context": 64, "factor": float("inf")})


def test_a_misspelt_base_leaves_nothing(base: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "out", tmp_path / "empty"):
        with pytest.raises((InputError, SourceError)):
            bw.train(made(f"{base}x", stage("s", SIMCSE)), out, texts=TEXTS)
    assert [each.name for each in tmp_path.iterdir()] == ["empty"]
    bw.train(made(base, stage("s", SIMCSE)), tmp_path / "out", texts=TEXTS)


def test_an_empty_base_is_no_default(tmp_path: Path, monkeypatch, capsys) -> None:
    from bothways.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text("\n".join(TEXTS))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))  # the folder itself is no answer either
    for words in (
        ["train", "llm2vec", "--base", "", "--data", "t.txt", "--out", "o"],
        ["convert", "", "--out", "o"],
        ["encode", " ", "t.txt", "--out", "o.npy"],
    ):
        with pytest.raises(SystemExit) as done:
            main(words)
        assert done.value.code == 2
        assert "empty" in capsys.readouterr().err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["config.json", "t.txt"]
