"""Two processes that train what one trains: recipes for it, how they are started, and the
comparison.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bothways.training.recipe.recipe import Recipe
from unit.training.material import metrics, weights
from unit.training.stage.test_language_model import longlora, made
from unit.training.stage.test_llara import adaptation, llara
from warm import ranks

TWO = {"size": 2, "accumulation": 2}
ONE = {"size": 8, "accumulation": 1}
SHORT = {"lr": 1e-2, "steps": 4, "schedule": "constant"}
#: The same numbers are added in another order: rounding of 1e-7, which Adam raises where a gradient
#: is next to nothing. Of a tensor's norm; a block's gradient left out or counted twice is seen as
#: 1e-1 in its moments.
TOLERANCE = 1e-4


def plus(folder: Path, batch: dict[str, int]) -> Recipe:
    """LoRA+ with a tied head, and a loss read while training."""
    held = {"data": {"source": str(folder.parent / "held.txt")}, "every": 2}
    return made(folder, longlora(batch=batch, optim=SHORT, save_every=2, heldout=held))


def full(folder: Path, batch: dict[str, int]) -> Recipe:
    """Every weight, the head's own among them, with a gradient that is clipped."""
    return made(folder, longlora(adapter=None, batch=batch, optim={**SHORT, "clip_norm": 0.1}), tied=False)


def rows(folder: Path, batch: dict[str, int]) -> Recipe:
    """Factors of three rows, which two processes cannot share evenly, and rows of new tokens;
    nothing random.
    """
    stage = adaptation(objective={"text_loss": "next_token"}, batch=batch, optim=SHORT, adapter={"r": 3, "dropout": 0.0})
    return llara(folder, stage)


def two_processes(folder: Path, function: str, settings: dict[str, str]) -> None:
    """Call a test module's function ("module.function") with a folder on two CPU processes."""
    module, name = function.rsplit(".", 1)
    called = getattr(importlib.import_module(module), name)
    ranks(called, [folder], {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", **settings})


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = TOLERANCE) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].shape == tensor.shape and found[name].dtype == tensor.dtype, name
        assert float((found[name] - tensor).norm()) <= tolerance * float(tensor.norm()), name


def same_runs(two: Path, one: Path, tolerance: float = TOLERANCE) -> None:
    """Saved folders, checkpoints with their optimiser, and what was logged."""
    same(weights(two), weights(one), tolerance)
    (kept,) = (one / "checkpoints").iterdir()
    # several processes also leave the rows of their last refresh there
    steps = sorted(entry.name for entry in kept.glob("step-*"))
    other = two / "checkpoints" / kept.name
    assert steps and steps == sorted(entry.name for entry in other.glob("step-*"))
    for step in steps:
        same(*(load_file(place / step / "trainable.safetensors") for place in (other, kept)), tolerance)
        moments = [torch.load(place / step / "optimizer.pt", weights_only=True)["state"] for place in (other, kept)]
        assert moments[0].keys() == moments[1].keys()
        for number, moment in moments[1].items():
            assert all(type(value) is torch.Tensor for value in moments[0][number].values())
            same(moments[0][number], moment, tolerance)
    lines = [
        [{key: value for key, value in line.items() if key != "processes"} for line in metrics(place)] for place in (two, one)
    ]
    assert [line.keys() for line in lines[0]] == [line.keys() for line in lines[1]]
    for found, expected in zip(*lines):
        # LLaRA's accuracy is a mean over micro-batches, which are other ones here; a text that a
        # batch has twice is encoded once
        left_out = ("accuracy",) if "masked" not in expected else ("tokens",)
        numbers = {key: value for key, value in expected.items() if isinstance(value, (int, float)) and key not in left_out}
        assert {key: found[key] for key in numbers} == pytest.approx(numbers, rel=1e-4)
