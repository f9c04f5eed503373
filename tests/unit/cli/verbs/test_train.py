"""`bothways train`: a recipe by name or file with its options, and which of them do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bothways import recipes
from bothways.errors import InputError
from bothways.training.loop import trainer
from bothways.training.recipe.recipe import Recipe
from unit.cli.cli_runner import Run, runner


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of `bothways.train`, which does nothing."""
    seen: dict[str, Any] = {}

    def train(recipe: Recipe, out: Path | None = None, **options: Any) -> None:
        seen.update({"recipe": recipe, "out": out, **options})
        raise InputError("seen")

    monkeypatch.setattr(trainer, "train", train)
    return seen


def test_a_recipe_by_name(run: Run, given: dict[str, Any], tmp_path: Path) -> None:
    words = ("--base", "some/base", "--data", "a.txt", "--data", "b.txt", "--preset", "laptop", "--dev", "stdlib")
    changes = ("--option", "simcse=true", "--set", "seed=5", "--set", "stages.mntp.optim.lr=1e-3", "--device", "cpu")
    done = run("train", "llm2vec", "--out", tmp_path / "out", *words, *changes)
    assert (done.code, done.err.strip()) == (2, "error: seen")
    wanted = recipes.llm2vec("some/base", ["a.txt", "b.txt"], "laptop", simcse=True, dev="stdlib", seed=5)
    assert given["recipe"].stages[0].optim.lr == 1e-3
    assert given["recipe"].stages[1:] == wanted.stages[1:] and given["recipe"].seed == 5
    assert {name: given[name] for name in ("out", "resume", "overwrite", "device")} == {
        "out": tmp_path / "out",
        "resume": False,
        "overwrite": False,
        "device": "cpu",
    }


def test_a_recipe_in_a_file(run: Run, given: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(recipes.simcse("some/base", "a.txt", "laptop").to_yaml())
    run("train", file, "--out", tmp_path / "out", "--base", "other/base", "--data", "b.txt", "--set", "seed=5", "--resume")
    made = given["recipe"]
    assert (made.base, made.seed, made.stages[0].data.all_sources) == ("other/base", 5, ("b.txt",))
    assert given["resume"] is True and given["overwrite"] is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("llm2vek",), "llm2vek: is neither a recipe nor a file; did you mean 'llm2vec'? recipes: "),
        (("FILE", "--dev", "stdlib"), "--dev: only for a recipe by name; for a file use --set stages.NAME.eval="),
        (("FILE", "--option", "simcse=true"), "--option simcse=true: only for a recipe by name; for a file use --set"),
        (("FILE",), "--out: name the folder for the trained encoder"),
        (("FILE", "--out", "o", "--resume", "--overwrite"), "--overwrite starts again and --resume continues"),
    ],
)
def test_what_does_not_fit_is_refused(
    run: Run, given: dict[str, Any], tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(recipes.simcse("some/base", "a.txt", "laptop").to_yaml())
    done = run("train", *(str(file) if word == "FILE" else word for word in words))
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")
    assert given == {}
