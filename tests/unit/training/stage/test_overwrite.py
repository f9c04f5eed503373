"""An earlier run is removed on request, unless the new one needs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bothways.errors import InputError
from bothways.training.recipe.recipe_files import overwrites
from bothways.training.stage.overwrite import remove_run
from unit.cli.cli_runner import Run, runner
from unit.training.material import TEXTS, metrics
from unit.training.recipe.test_llm2vec_stages import SMALL, small
from unit.training.recipe.test_recipe_files import MNTP, write


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return tmp_path / "texts.jsonl"


def test_overwrite_output_dir(tmp_path: Path, texts: Path, run: Run) -> None:
    small(tmp_path, texts)
    out = tmp_path / "out"
    path = write(tmp_path, {**MNTP, **SMALL, "output_dir": str(out)})
    assert overwrites(path)
    arguments = ("train", path, "--base", tmp_path / "base", "--data", texts)
    assert run(*arguments).code == 0
    (out / "notes.txt").write_text("mine")
    before = torch.load(out / "checkpoints" / "1-mntp" / "step-00000004" / "optimizer.pt", weights_only=True)
    assert run(*arguments, "--set", "seed=5").code == 0
    assert (out / "notes.txt").read_text() == "mine"
    assert "seed: 5" in (out / "recipe.yaml").read_text()
    assert len([line for line in metrics(out) if "loss" in line]) == 1
    after = torch.load(out / "checkpoints" / "1-mntp" / "step-00000004" / "optimizer.pt", weights_only=True)
    assert str(before) != str(after)
    # without it a run in the way is refused, and so is a folder that is none
    path = write(tmp_path, {**MNTP, **SMALL, "output_dir": str(out), "overwrite_output_dir": False})
    assert "already exists and is not empty" in run(*arguments).err
    assert run(*arguments, "--overwrite").code == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    assert "already exists" in run(*arguments, "--overwrite", "--out", tmp_path / "other").err
    assert "use only one of them" in run(*arguments, "--overwrite", "--resume").err


def test_a_run_is_not_overwritten_by_what_starts_from_it(tmp_path: Path) -> None:
    (tmp_path / "run" / "stages" / "1-mntp").mkdir(parents=True)
    (tmp_path / "run" / "recipe.yaml").write_text("name: x")
    for needed in (tmp_path / "run", tmp_path / "run" / "stages" / "1-mntp"):
        with pytest.raises(InputError, match="because this run starts from"):
            remove_run(tmp_path / "run", ["smollm2-135m", str(needed)])
    remove_run(tmp_path / "run", ["smollm2-135m", str(tmp_path)])
    assert list((tmp_path / "run").iterdir()) == []
