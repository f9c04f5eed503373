"""Graded pairs, distillation and a guide on two processes train what one trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bothways as bw
from bothways.data.labeled.graded_pairs import GradedPair
from bothways.training.recipe.recipe import Recipe
from unit.training.material import TEXTS, recipe
from unit.training.parallel.pooled_stages import ONE, ROWS, TWO
from unit.training.processes import SHORT, TOLERANCE, same_runs, two_processes

PAIRS = [GradedPair(TEXTS[n], TEXTS[n + 1], float(n % 5), "dev") for n in range(len(TEXTS) - 1)]
LENGTHS = {"max_length": 32, "matryoshka": [32, 16]}


def letters(texts: list[str]) -> np.ndarray:
    """Vectors of a teacher."""
    return np.array([[1 + text.lower().count(letter) for letter in "aeions"] for text in texts], dtype=np.float32)


def objectives(folder: Path) -> dict[str, tuple[dict[str, Any], list[Any]]]:
    """For each stage its objective and its rows."""
    teacher = {"encoder": f"{__name__}:letters", "cache": str(folder / "cache")}
    directions = ["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"]
    guided = {
        "kind": "supervised", "negatives": 2, "directions": directions, "quantize": ["binary"],
        "false_negatives": {"guide": teacher, "guide_margin": 0.01}, "distillation": {"teacher": teacher},
    }  # fmt: skip
    return {
        "graded": ({"kind": "graded", "angle_weight": 0.5, **LENGTHS}, PAIRS),
        "distillation": (
            {"kind": "distillation", "mse": 0.5, "similarities": 1.0, "teacher": teacher, "max_length": 32},
            TEXTS,
        ),
        "guided": ({**guided, **LENGTHS}, ROWS),
    }


def made(folder: Path, name: str, batch: dict[str, int]) -> Recipe:
    """A recipe of one stage; nothing in it is random."""
    stage = {
        "name": name, "objective": objectives(folder)[name][0], "data": {"source": "rows"}, "batch": batch,
        "optim": SHORT, "adapter": {"r": 4, "dropout": 0.0}, "save_every": 2, "log_every": 1,
    }  # fmt: skip
    return recipe(folder / name, stage)


def train_all(folder: Path) -> None:
    """Train every stage; each of two processes does so."""
    for name, (_, rows) in objectives(folder).items():
        bw.train(made(folder, name, TWO), folder / name / "two", texts=rows)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("objectives")
    for name in objectives(folder):
        (folder / name).mkdir()
        made(folder, name, TWO)
    two_processes(folder, f"{__name__}.train_all", {"ACCELERATE_USE_FSDP": "false"})
    return folder


@pytest.mark.parametrize("name", ["graded", "distillation", "guided"])
def test_two_processes_train_what_one_trains(runs: Path, name: str) -> None:
    bw.train(made(runs, name, ONE), runs / name / "one", texts=objectives(runs)[name][1])
    same_runs(runs / name / "two", runs / name / "one", TOLERANCE)
