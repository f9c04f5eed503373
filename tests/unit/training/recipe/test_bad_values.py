"""Values that cannot be meant are refused before any work, and a failed start does not stand in the way of the next one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import bothways as bw
from bothways.backbone.rope import RopeConfig
from bothways.data.labeled.example import Example
from bothways.errors import InputError, SourceError
from bothways.training.loop.optimizer_step import Diverged
from bothways.training.recipe.overrides import override
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.recipe_files import read_recipe
from bothways.training.recipe.yaml_text import load_yaml
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
MNTP = {"kind": "mntp", "row_length": 16}
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


def test_a_key_given_twice_names_both_lines(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"r: line 4, column 3 .*'lr' is given twice \(first on line 2\)"):
        load_yaml("optim:\n  lr: 1\n  steps: 2\n  lr: 3\n", where="r")
    assert load_yaml("a: &x {lr: 1}\nb:\n  <<: *x\n  lr: 2\n", where="r") == {"a": {"lr": 1}, "b": {"lr": 2}}
    file = tmp_path / "r.json"
    file.write_text('{\n"seed": 3,\n"name": "x",\n"seed": 4}')
    with pytest.raises(InputError, match=r"'seed' is given twice \(lines 2, 4\)"):
        read_recipe(file)


def test_a_row_without_any_negative_is_refused(base: str, tmp_path: Path) -> None:
    for change in ({"in_batch": False}, {}):
        with pytest.raises(InputError, match="a row has no negative"):
            made(base, stage("s", {**LABELLED, "negatives": 0, **change}, size=1))
    rows = [Example(query=text, positives=(text + " too",)) for text in TEXTS]
    for size, change in ((4, {"in_batch": False}), (1, {})):
        recipe = made(base, stage("s", {**LABELLED, **change}, size=size))
        with pytest.raises(InputError, match=r"stages\.s: no row of the data has a negative"):
            bw.train(recipe, tmp_path / "out", texts=rows)
        assert not (tmp_path / "out").exists()


def test_texts_that_are_all_the_same_are_refused(base: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="all 64 texts are the same"):
        bw.train(made(base, stage("s", SIMCSE)), tmp_path / "out", texts=["one"] * 64)


@pytest.mark.parametrize(
    ("later", "data", "message"),
    [
        (stage("late", {"kind": "contrastive", "max_length": 16}, adapter=None), TEXTS, r"stages\.late: .*needs dropout"),
        (stage("late", {**SIMCSE, "matryoshka": [10**6]}), TEXTS, r"late|width|matryoshka"),
        (stage("late", SIMCSE, size=500), TEXTS, r"stages\.late: the data gives 24 examples"),
        (stage("late", SIMCSE, adapter={"targets": ["nowhere"]}), TEXTS, "nowhere"),
        (stage("late", {**LABELLED, "in_batch": False}), [Example(query="a", positives=("b",))] * 8, r"stages\.late: no row"),
        (stage("late", SIMCSE), [3, 4], r"texts\[0\]"),
    ],
)
def test_a_mistake_of_a_later_stage_is_found_before_the_first_trains(
    later: dict[str, Any], data: list[Any], message: str, base: str, tmp_path: Path, monkeypatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the first stage was trained")

    monkeypatch.setattr("bothways.training.loop.stage_run.StageRun.train", never)
    with pytest.raises((InputError, ValueError), match=message):
        bw.train(made(base, stage("early", MNTP), later), tmp_path / "out", texts={"early": TEXTS, "late": data})
    assert not (tmp_path / "out").exists()


def test_looking_ahead_changes_nothing(base: str, tmp_path: Path) -> None:
    bw.train(made(base, stage("early", MNTP)), tmp_path / "one", texts=TEXTS)
    alone = bw.load(tmp_path / "one", dtype="float32")
    bw.train(made(base, stage("early", MNTP), stage("late", {**SIMCSE, "mlp": True})), tmp_path / "two", texts=TEXTS)
    before = bw.load(tmp_path / "two" / "stages" / "1-early", dtype="float32")
    for (name, one), (_, two) in zip(alone.backbone.state_dict().items(), before.backbone.state_dict().items()):
        assert torch.equal(one, two), name


def test_a_misspelt_base_leaves_nothing(base: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "out", tmp_path / "empty"):
        with pytest.raises((InputError, SourceError)):
            bw.train(made(f"{base}x", stage("s", SIMCSE)), out, texts=TEXTS)
    assert [each.name for each in tmp_path.iterdir()] == ["empty"]
    bw.train(made(base, stage("s", SIMCSE)), tmp_path / "out", texts=TEXTS)


@pytest.mark.parametrize(("which", "remedy"), [(1, "bothways doctor"), (2, r"lower optim\.lr")])
def test_vectors_that_are_not_numbers_name_stage_step_and_remedy(
    which: int, remedy: str, base: str, tmp_path: Path, monkeypatch
) -> None:
    from bothways.training.stage.collapse import CollapseWatch

    read, calls = CollapseWatch.read, []

    def broken(watch: CollapseWatch, encoder: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == which:
            raise InputError("vector 0 of 64 holds NaN or infinity")
        return read(watch, encoder)

    monkeypatch.setattr(CollapseWatch, "read", broken)
    with pytest.raises(Diverged, match=rf"stage s, step {0 if which == 1 else 2}: .*vector 0 of 64.*{remedy}"):
        bw.train(made(base, stage("s", SIMCSE)), tmp_path / "out", texts=TEXTS)
    assert (tmp_path / "out").exists() == (which == 2)  # with the log of what was trained


def test_an_odd_scale_is_said(base: str, tmp_path: Path, caplog) -> None:
    for number, scale in enumerate((1e9, 1e-9, 20.0)):
        caplog.clear()
        bw.train(made(base, stage("s", {**SIMCSE, "scale": scale})), tmp_path / str(number), texts=TEXTS)
        assert ("is far from the usual" in caplog.text) == (scale != 20.0)


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
