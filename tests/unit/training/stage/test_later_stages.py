"""Mistakes of later stages are found before the first one trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import bothways as bw
from bothways.data.labeled.example import Example
from bothways.errors import InputError
from tiny import tiny_llama
from unit.training.recipe.test_bad_values import LABELLED, SIMCSE, TEXTS, made, stage


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return str(tiny_llama(tmp_path_factory.mktemp("base")))


MNTP = {"kind": "mntp", "row_length": 16}


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
