"""A tiny base, sentences, scored pairs and a two-stage recipe: a whole ablation takes seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from bothways.ablation import ablate as run_module
from bothways.ablation.grid import Cell
from bothways.ablation.table import AblationTable, Measured, tabulate
from bothways.evaluation.results import Results
from bothways.pooling import PoolingConfig
from tiny import SENTENCES, tiny_llama
from unit.training.material import mntp, simcse

ROWS = ("uni", "bi", "bi+mntp", "bi+mntp+simcse")
POOLINGS = ["mean", "last"]


class World:
    """Files of one test folder, and the plan over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = str(tiny_llama(folder / "base"))
        self.texts = folder / "texts.txt"
        self.texts.write_text("\n".join(f"{text} {number}" for number in range(8) for text in SENTENCES), encoding="utf-8")
        self.tasks = [f"sts:{self._pairs('one', 0)}", f"sts:{self._pairs('two', 3)}"]
        self.recipe = self.write_recipe("recipe.yaml")

    def _pairs(self, name: str, shift: int) -> Path:
        path = self.folder / f"{name}.jsonl"
        rows = [
            {
                "sentence1": text,
                "sentence2": SENTENCES[(i * (2 + shift) + j) % len(SENTENCES)],
                "score": (i * 7 + j * 3 + shift) % 11,
            }
            for i, text in enumerate(SENTENCES)
            for j in range(3)
        ]
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return path

    def stage(self, kind: str, **changes: Any) -> dict[str, Any]:
        """One of the recipe's stages."""
        return {"mntp": mntp, "simcse": simcse}[kind](data={"source": str(self.texts)}, **changes)

    def write_recipe(self, name: str, *stages: dict[str, Any], **changes: Any) -> str:
        """A recipe file in float32, where a run repeats to the bit."""
        values = {"name": "tiny", "base": self.base, "dtype": "float32", **changes}
        path = self.folder / name
        path.write_text(yaml.safe_dump({**values, "stages": list(stages) or [self.stage("mntp"), self.stage("simcse")]}))
        return str(path)

    def plan(self, *rows: str, **changes: Any) -> dict[str, Any]:
        """A plan over one task."""
        values: dict[str, Any] = {"base": self.base, "rows": list(rows), "tasks": self.tasks[:1], "recipe": self.recipe}
        return {**values, "seeds": [0], "dtype": "float32", **changes}


def count_trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the folders that are trained from now on, in order."""
    names: list[str] = []
    plain: Callable[..., Any] = run_module.train

    def counting(recipe: Any, out: Path, **options: Any) -> Any:
        names.append(Path(out).name)
        return plain(recipe, out, **options)

    monkeypatch.setattr(run_module, "train", counting)
    return names


def snapshot(folder: Path) -> dict[str, int]:
    """Every file below a folder with its time of change."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def plan(world: World, **changes: Any) -> dict[str, Any]:
    """Four rows, two poolings, two tasks, one seed."""
    return world.plan(*ROWS, **{"poolings": POOLINGS, "tasks": world.tasks, **changes})


def scores(out: Path) -> dict[str, dict[str, float]]:
    """Main scores by task of each results file."""
    return {path.name: Results.load(path).main for path in sorted((out / "results").glob("*.json"))}


TASKS = [SimpleNamespace(name="sts:data/one.jsonl", main="spearman", higher_is_better=True, fingerprint="")]


def cell(row: str, pooling: str, seed: int | None = None, trained: bool = False) -> Cell:
    """A row under a pooling. With a seed it is trained."""
    direction = "causal" if row.startswith("uni") else "bidirectional"
    made: Any = SimpleNamespace(label=row, direction=direction, stages=("stage",) if "+" in row else ())
    chosen = PoolingConfig(mode=pooling)
    node: Any = None if seed is None else SimpleNamespace(name=row)
    return Cell(made, chosen, chosen if trained else None, seed, node)


def measured(row: str, pooling: str, *scores: float, seed: int | None = None, tasks: list[Any] = TASKS) -> Measured:
    """Main scores of a cell, task by task."""
    return Measured(cell(row, pooling, seed), {task.name: score for task, score in zip(tasks, scores)}, 1.0, "file")


def table(*found: Measured, tasks: list[Any] = TASKS) -> AblationTable:
    """The table of these cells."""
    return tabulate("base", {}, tasks, found, ())
