"""A tiny base model, a few texts, and recipes over them, small enough that a whole run takes a
second.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import bothways as bw
from bothways.training.loop.signals import Interrupted, StopSignal
from bothways.training.recipe.recipe import Recipe
from tiny import SENTENCES, tiny_llama

TEXTS = [f"{sentence} {number}" for number in range(8) for sentence in SENTENCES]


def interrupted(made: Recipe, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin a run and stop it by a signal after its first step of 8."""
    monkeypatch.setattr(StopSignal, "received", "SIGINT", raising=False)
    monkeypatch.setattr(StopSignal, "__init__", lambda self: setattr(self, "_before", {}))
    with pytest.raises(Interrupted, match="after step 1 of 8"):
        bw.train(made, out, texts=TEXTS)
    monkeypatch.undo()


def mntp(**changes: Any) -> dict[str, Any]:
    """A stage of MNTP with dropout in the adapter, so that wrong seeds show."""
    return {
        "name": "mntp",
        "objective": {"kind": "mntp", "row_length": 32},
        "data": {"source": "python-stdlib"},
        "batch": {"size": 2, "accumulation": 2},
        "optim": {"lr": 1e-3, "steps": 8},
        "adapter": {"r": 4, "dropout": 0.2},
        "save_every": 3,
        "log_every": 2,
        **changes,
    }


def simcse(**changes: Any) -> dict[str, Any]:
    """A stage of SimCSE with attention dropout."""
    return {
        "name": "simcse",
        "objective": {"kind": "contrastive", "max_length": 16, "attention_dropout": 0.3},
        "data": {"source": "python-stdlib"},
        "batch": {"size": 8},
        "optim": {"lr": 1e-3, "steps": 6},
        "adapter": {"r": 4, "dropout": 0.2},
        "save_every": 3,
        "log_every": 2,
        **changes,
    }


def recipe(folder: Path, *stages: dict[str, Any], **changes: Any) -> Recipe:
    """A recipe in float32 (bit-equal on any CPU) over a tiny Llama saved below `folder`."""
    base = folder / "base"
    if not base.exists():
        tiny_llama(base)
    values = {"name": "test", "base": str(base), "dtype": "float32", "seed": 3, "stages": list(stages) or [mntp(), simcse()]}
    return Recipe.from_values({**values, **changes})


def weights(folder: Path) -> dict[str, Any]:
    """Tensors of a saved encoder."""
    return load_file(folder / "model.safetensors")


def state(out: Path, stage: str, step: int) -> dict[str, Any]:
    """state.json of a checkpoint."""
    return json.loads((out / "checkpoints" / stage / f"step-{step:08d}" / "state.json").read_text())


def metrics(out: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("seconds", "tokens_per_second")} for line in lines]
