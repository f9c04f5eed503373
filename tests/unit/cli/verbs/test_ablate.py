"""`bothways ablate`: its lists, its files and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bothways.cli.verbs.ablate import spread
from unit.ablation.material import World
from unit.cli.cli_runner import Run, runner


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("ablate"))


@pytest.fixture
def run(capsys) -> Run:
    return runner(capsys)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("plan.yaml --rows uni bi --out x", "plan.yaml --rows uni --rows bi --out x"),
        ("--seeds 0 1 2 --dry-run --set a=1 b=2", "--seeds 0 --seeds 1 --seeds 2 --dry-run --set a=1 --set b=2"),
        ("--rows uni --rows bi", "--rows uni --rows bi"),
        ("--base b c", "--base b c"),  # no list: the parser refuses what is too much
        ("--rows", "--rows"),
    ],
)
def test_lists_take_several_values(given: str, read: str) -> None:
    assert spread(given.split()) == read.split()


def test_from_options_to_a_table(world: World, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    words = ["ablate", "--base", world.base, "--rows", "uni", "bi+mntp", "--poolings", "mean", "last", "--tasks", *world.tasks]
    words += [
        "--recipe",
        world.recipe,
        "--set",
        "stages.mntp.optim.steps=4",
        "stages.mntp.save_every=2",
        "--seeds",
        "0",
        "--dtype",
    ]
    words += ["float32", "--out", str(out)]
    dry = run(*words, "--dry-run")
    assert dry.code == 0
    assert "train bidirectional-mean-mntp-seed0, about" in dry.out
    assert "in all: 1 to train, 0 to reuse, 4 to measure" in dry.out
    assert not out.exists()
    done = run(*words)
    assert done.code == 0
    table = json.loads((out / "table.json").read_text())
    assert [(line["row"], line["pooling"]) for line in table["lines"]] == [
        *(("uni", "mean"), ("uni", "last"), ("bi+mntp", "mean"), ("bi+mntp", "last"))
    ]
    assert (out / "table.md").read_text().strip() in done.out
    assert table["plan"]["overrides"] == {"stages.mntp.optim.steps": 4, "stages.mntp.save_every": 2}
    # the plan it left says the same again, and options win over it
    again = run("ablate", out / "plan.yaml", "--out", out, "--dry-run")
    assert "in all: 0 to train, 1 to reuse, 0 to measure" in again.out
    changed = run("ablate", out / "plan.yaml", "--out", out, "--set", "stages.mntp.optim.steps=5")
    assert changed.code == 2
    assert changed.err.count("\n") == 1
    assert "optim.steps (4 → 5)" in changed.err
    assert "--retrain" in changed.err


def test_data_by_stage(world: World, tmp_path: Path, run: Run) -> None:
    words = ["ablate", "--base", world.base, "--rows", "bi+mntp", "--tasks", world.tasks[0], "--recipe", world.recipe]
    wrong = run(*words, "--out", tmp_path / "out", "--data", f"mntp={world.texts}", "simsce=x.txt")
    assert (wrong.code, "data: no stage 'simsce'" in wrong.err) == (2, True)
    missing = run(*words, "--out", tmp_path / "out", "--data", "mntp=nowhere.txt")
    assert (missing.code, "nowhere.txt" in missing.err) == (2, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--rows", "bi"], "--out: name the folder"),
        (["--out", "x"], "base: Field required"),
        (["--out", "x", "--base", "b", "--rows", "bi", "--tasks", "t", "--set", "a"], "--set a: expected path=value"),
    ],
)
def test_a_wrong_command_line_is_one_line(tmp_path: Path, monkeypatch, run: Run, words: list[str], answer: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("ablate", *words)
    assert done.code == 2
    assert answer in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "x").exists()
