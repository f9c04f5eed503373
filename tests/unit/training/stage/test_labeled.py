"""Stages that learn from labelled rows: files, tasks and prompts, both kinds of batches, resuming,
and what is refused.
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.training.loop.optimizer_step import Stepper
from bothways.training.loop.signals import Interrupted
from bothways.training.recipe.overrides import override
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.recipe_changes import changed_keys
from bothways.training.stage.stage_context import StageContext
from unit.training.material import TEXTS, metrics, mntp, recipe, state, weights

ROWS = [
    Example(
        query=f"{TEXTS[number]} why",
        positives=(TEXTS[number], f"{TEXTS[number]}!"),
        negatives=(TEXTS[number + 1], TEXTS[number + 2]),
        query_prompt="Ask: ",
        task="qa" if number % 3 else "nli",
    )
    for number in range(20)
]


def supervised(**changes) -> dict:
    return {
        "name": "supervised",
        "objective": {"kind": "supervised", "max_length": 24, "attention_dropout": 0.1, "scale": 20.0},
        "data": {"source": "rows.jsonl", "batches": "homogeneous"},
        "batch": {"size": 2, "accumulation": 2},
        "optim": {"lr": 1e-3, "steps": 7},
        "adapter": {"r": 4, "dropout": 0.2},
        "save_every": 3,
        "log_every": 2,
        **changes,
    }


def latent(made: Recipe) -> Recipe:
    return override(made, "pooling={mode: latent_attention, latents: 8, heads: 2}")


def test_resuming_equals_the_uninterrupted_run(tmp_path: Path, monkeypatch) -> None:
    """Homogeneous batches, draws of positives and negatives, and a pooling with parameters, across
    epochs.
    """
    made = latent(recipe(tmp_path, supervised()))
    bw.train(made, tmp_path / "whole", texts=ROWS)
    plain = Stepper.__call__

    def with_signal(self, number, lr, *, interrupted=False):
        if number == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, number, lr, interrupted=interrupted)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "__call__", with_signal)
        with pytest.raises(Interrupted, match="after step 4 of 7"):
            bw.train(made, tmp_path / "out", texts=ROWS)
    with pytest.raises(InputError, match="texts has changed"):
        bw.train(made, tmp_path / "out", resume=True, texts=[*ROWS[:-1], replace(ROWS[-1], negatives=("another",))])
    bw.train(made, tmp_path / "out", resume=True, texts=ROWS)
    stage = "1-supervised"
    assert state(tmp_path / "out", stage, 7)["losses"] == state(tmp_path / "whole", stage, 7)["losses"]
    assert metrics(tmp_path / "out") == metrics(tmp_path / "whole")
    one, other = (weights(tmp_path / name) for name in ("out", "whole"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    first, second = (bw.load(tmp_path / name, dtype="float32").encode(TEXTS[:4]) for name in ("out", "whole"))
    assert np.array_equal(first, second)
    assert {"accuracy", "alignment", "masked"} <= metrics(tmp_path / "out")[1].keys()


def test_bfloat16_training_keeps_the_trained_pooling(tmp_path: Path) -> None:
    made = latent(recipe(tmp_path, supervised(), dtype="bfloat16"))
    seen = {}
    plain = Stepper.__call__

    def watching(self, number, lr, *, interrupted=False):
        result = plain(self, number, lr, interrupted=interrupted)
        seen.update({name: each.detach().clone() for name, each in self.encoder.pooling.named_parameters()})
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "__call__", watching)
        bw.train(made, tmp_path / "out", texts=ROWS)
    # read back in the type that the recipe asks for, so the folder's own float32 is read here
    kept = dict(bw.load(tmp_path / "out", dtype="float32").pooling.named_parameters())
    fresh = dict(latent_start(made, tmp_path).pooling.named_parameters())
    assert seen.keys() == kept.keys() == fresh.keys()
    assert all(torch.equal(seen[name], kept[name]) for name in seen)
    assert all(not torch.equal(seen[name], fresh[name]) for name in seen)


def latent_start(made: Recipe, folder: Path):
    from bothways.training.stage.base_encoder import open_base

    return open_base(StageContext(made, 0), device=torch.device("cpu"), dtype=torch.float32)


def test_mntp_before_it_leaves_the_pooling_alone(tmp_path: Path) -> None:
    made = latent(recipe(tmp_path, mntp(optim={"lr": 1e-3, "steps": 2}), supervised(optim={"lr": 1e-3, "steps": 1})))
    bw.train(made, tmp_path / "out", texts={"mntp": TEXTS, "supervised": ROWS})
    fresh = dict(latent_start(made, tmp_path).pooling.named_parameters())
    middle = dict(bw.load(tmp_path / "out" / "stages" / "1-mntp", dtype="float32").pooling.named_parameters())
    final = dict(bw.load(tmp_path / "out", dtype="float32").pooling.named_parameters())
    assert all(torch.equal(middle[name], fresh[name]) for name in fresh)
    assert all(not torch.equal(final[name], fresh[name]) for name in fresh)


def test_weights_and_tasks_are_part_of_what_a_run_is(tmp_path: Path) -> None:
    data = {"tasks": [{"name": "a", "source": "a.jsonl"}, {"name": "b", "source": "b.jsonl"}]}
    before = recipe(tmp_path, supervised(data=data))
    data["tasks"][1]["weight"] = 0.1
    lines = changed_keys(before.resolved(), recipe(tmp_path, supervised(data=data)).resolved())
    assert lines == ["stages.supervised.data.tasks.b.weight (1.0 → 0.1)"]
