"""Negatives mined anew in training: they are the model's of the moment, and stop and resume equals
uninterrupted with them in between.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_reader import read_examples
from bothways.errors import InputError
from bothways.mining import Refresher
from bothways.training.loop.optimizer_step import Stepper
from bothways.training.loop.signals import Interrupted
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.recipe_changes import changed_keys
from bothways.training.stage.negative_refresh import RefreshConfig
from unit.training.material import TEXTS, metrics, recipe, simcse, state, weights
from unit.training.processes import two_processes

ROWS = [
    Example(f"{TEXTS[number]} why", (TEXTS[number],), (TEXTS[number + 1], TEXTS[number + 2]), query_prompt="Ask: ", task="qa")
    for number in range(20)
]
REFRESH = {"every": 2, "negatives": 2, "window": [1, 12], "perc": None, "sampling": "random"}
STAGE = "1-supervised"


def supervised(**changes) -> dict:
    return {
        "name": "supervised",
        "objective": {"kind": "supervised", "max_length": 24, "attention_dropout": 0.1, "scale": 20.0, "negatives": 2},
        "data": {"source": "rows.jsonl"},
        "batch": {"size": 4},
        "optim": {"lr": 3e-3, "steps": 7},
        "adapter": {"r": 4, "dropout": 0.2},
        "refresh": REFRESH,
        "save_every": 3,
        "log_every": 1,
        **changes,
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("refresh")
    bw.train(recipe(folder, supervised()), folder / "whole", texts=ROWS)
    return folder


def negatives(out: Path, step: int) -> list[tuple[str, ...]]:
    return [row.negatives for row in read_examples(out / "checkpoints" / STAGE / f"step-{step:08d}" / "examples.jsonl")]


@pytest.mark.parametrize(("stops_after", "by_signal"), [(4, True), (4, False), (5, True)])
def test_resuming_equals_the_uninterrupted_run(
    whole: Path, tmp_path: Path, monkeypatch, stops_after: int, by_signal: bool
) -> None:
    """Stopped by a signal after a refresh (saved), between two, and killed so that a refresh has to
    be made again.
    """
    made = recipe(whole, supervised())
    plain = Stepper.__call__

    def stopping(self, number, lr, *, interrupted=False):
        if number == stops_after and not by_signal:
            raise RuntimeError("killed")
        if number == stops_after - 1 and by_signal:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, number, lr, interrupted=interrupted)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "__call__", stopping)
        with pytest.raises(Interrupted if by_signal else RuntimeError):
            bw.train(made, tmp_path / "out", texts=ROWS)
    bw.train(made, tmp_path / "out", resume=True, texts=ROWS)
    assert state(tmp_path / "out", STAGE, 7)["losses"] == state(whole / "whole", STAGE, 7)["losses"]
    assert metrics(tmp_path / "out") == metrics(whole / "whole")
    assert negatives(tmp_path / "out", 6) == negatives(whole / "whole", 6)
    one, other = (weights(folder) for folder in (tmp_path / "out", whole / "whole"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_refreshes_are_logged_saved_and_change_what_is_learned(whole: Path, tmp_path: Path) -> None:
    lines = metrics(whole / "whole")
    assert [line["step"] for line in lines if "refreshed" in line] == [2, 4, 6]
    assert all(line["refreshed"] > 0 and "negative_score" in line for line in lines if "refreshed" in line)
    assert negatives(whole / "whole", 6) != [row.negatives for row in ROWS]
    bw.train(recipe(whole, supervised(refresh=None)), tmp_path / "out", texts=ROWS)
    with_, without = (state(folder, STAGE, 7)["losses"] for folder in (whole / "whole", tmp_path / "out"))
    assert with_[:2] == without[:2]
    assert with_[2:] != without[2:]
    assert not list((tmp_path / "out").rglob("examples.jsonl"))


def test_vectors_are_those_of_the_trained_weights_in_evaluation(whole: Path, tmp_path: Path, monkeypatch) -> None:
    seen = []
    plain = Refresher.__call__

    def watching(self, step, encoder, **options):
        seen.append([encoder.encode(TEXTS[:3], show_progress_bar=False) for _ in range(2)])
        return plain(self, step, encoder, **options)

    monkeypatch.setattr(Refresher, "__call__", watching)
    bw.train(recipe(whole, supervised(optim={"lr": 3e-3, "steps": 5})), tmp_path / "out", texts=ROWS)
    base = bw.convert(whole / "base", dtype="float32", device="cpu").encode(TEXTS[:3])
    assert len(seen) == 2
    assert all(np.array_equal(first, second) for first, second in seen)  # no dropout
    assert not np.allclose(seen[0][0], base, atol=1e-4)  # the adapter takes part
    assert not np.allclose(seen[0][0], seen[1][0], atol=1e-4)


def train_on_two(folder: Path) -> None:
    bw.train(recipe(folder, still(2)), folder / "two", texts=ROWS)


def still(size: int) -> dict:
    """A stage without dropout, in which both negatives of a row are always used: nothing depends on
    a process's number.
    """
    objective = {"kind": "supervised", "max_length": 24, "scale": 20.0, "negatives": 2}
    return supervised(batch={"size": size}, objective=objective, adapter={"r": 4, "dropout": 0.0})


def test_two_processes_train_on_the_same_rows(tmp_path: Path) -> None:
    bw.train(recipe(tmp_path, still(4)), tmp_path / "one", texts=ROWS)
    two_processes(tmp_path, "unit.training.stage.test_negative_refresh.train_on_two", {})
    one, two = (state(tmp_path / name, STAGE, 7)["losses"] for name in ("one", "two"))
    assert two == pytest.approx(one, rel=1e-4)  # the same sums in another order, over seven steps
    assert negatives(tmp_path / "two", 6) == negatives(tmp_path / "one", 6)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (simcse(refresh=REFRESH), "refresh: has no meaning for the objective contrastive"),
        (supervised(refresh={**REFRESH, "every": 0}), r"refresh\.every"),
        (supervised(refresh={**REFRESH, "evry": 3}), "evry.*did you mean 'every'"),
        (supervised(refresh={**REFRESH, "method": "bm25"}), "a refresh asks the model in training"),
        (supervised(refresh={**REFRESH, "window": [5, 2]}), "window: 5:2"),
        (
            supervised(objective={"kind": "supervised", "distillation": {}}),
            "mined negatives have no teacher's scores, but distillation needs them",
        ),
    ],
)
def test_wrong_plans_get_one_line(stage: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Recipe.from_values({"name": "r", "base": "b", "stages": [stage]}, where="r.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_corpus_is_noticed_before_training(whole: Path, tmp_path: Path) -> None:
    made = recipe(whole, supervised(refresh={**REFRESH, "corpus": "no/such/corpus.jsonl"}))
    with pytest.raises(OSError, match="no such file"):
        bw.train(made, tmp_path / "out", texts=ROWS)


def test_recipes_without_it_stay_the_same_recipe(tmp_path: Path) -> None:
    made = recipe(tmp_path, supervised(refresh=None))
    before = made.resolved()
    del before["stages"][0]["refresh"]
    assert changed_keys(before, made.resolved()) == []
    now = recipe(tmp_path, supervised())
    assert Recipe.from_yaml(now.to_yaml()) == now
    assert any(line.startswith("stages.supervised.refresh.every (absent → 2)") for line in changed_keys(before, now.resolved()))


def test_a_beir_folder_brings_its_corpus(tmp_path: Path) -> None:
    """As for BM25's negatives; several sources have none in common."""
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "text": "a"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "q"}\n')
    (tmp_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n1\t1\t1\n")
    config = RefreshConfig(every=2)
    assert config.build(ROWS, seed=0, sources=[str(tmp_path)]).corpus == str(tmp_path)
    assert config.build(ROWS, seed=0, sources=[str(tmp_path), "rows.jsonl"]).corpus is None
    assert config.build(ROWS, seed=0, sources=["rows.jsonl"]).corpus is None
    assert RefreshConfig(every=2, corpus="other").build(ROWS, seed=0, sources=[str(tmp_path)]).corpus == "other"
