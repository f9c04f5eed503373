"""The held-out loss is a mean over all examples, in evaluation mode, and falls while a stage is
trained.
"""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.objectives.step_output import StepOutput
from bothways.training.stage.heldout import HeldOut
from unit.training.material import TEXTS, metrics, mntp, recipe


def test_held_out_loss_is_logged(tmp_path: Path) -> None:
    (tmp_path / "held.txt").write_text("\n".join(TEXTS[:20]))
    stage = mntp(
        heldout={"data": {"source": str(tmp_path / "held.txt")}, "every": 4, "limit": 5}, optim={"lr": 5e-2, "steps": 8}
    )
    bw.train(recipe(tmp_path, stage), tmp_path / "out", texts=TEXTS)
    lines = [line for line in metrics(tmp_path / "out") if "heldout_loss" in line]
    assert [line["step"] for line in lines] == [4, 8]
    assert lines[1]["heldout_loss"] < lines[0]["heldout_loss"]
    assert lines[0]["heldout_perplexity"] == pytest.approx(np.exp(lines[0]["heldout_loss"]))


class Numbers:
    """An objective with known losses: each example is its loss, and has two labels."""

    likelihood = "nats"
    labels = 2

    def __init__(self) -> None:
        self.training = True
        self.calls: list[dict[str, Any]] = []

    def prepare(self, texts: list[int], encoder: Any) -> list[int]:
        return texts

    def train(self, mode: bool = True) -> None:
        self.training = mode

    def eval(self) -> None:
        self.training = False

    def collate(self, examples: list[int], generator: torch.Generator) -> Any:
        batch = SimpleNamespace(examples=examples, draw=float(torch.rand((), generator=generator)))
        batch.to = lambda device: batch
        return batch

    def step(self, encoder: Any, batch: Any, *, scale: float, backward: Any, seed: int) -> StepOutput:
        modes = (encoder.training, self.training, torch.is_grad_enabled())
        self.calls.append({"modes": modes, "scale": scale, "seed": seed, "draw": batch.draw, "rows": batch.examples})
        backward(torch.ones((), requires_grad=True))
        rows = batch.examples
        count = self.labels * len(rows)
        loss = torch.tensor(float(sum(rows)))
        return StepOutput(loss, count, {"nats": sum(rows) / max(count, 1), "most": float(max(rows))})


@pytest.mark.parametrize(("training", "objective_trains"), [(True, False), (False, True)])
def test_the_mean_counts_every_example_once_and_changes_nothing(training: bool, objective_trains: bool) -> None:
    objective: Any = Numbers()
    objective.training = objective_trains
    encoder: Any = torch.nn.Linear(1, 1).train(training)
    encoder.device = "cpu"
    read = HeldOut(objective, encoder, [3, 1, 4, 1, 5, 9, 2], size=3, limit=5, seed=0).read
    # five examples of two labels, in batches of three and two
    assert read(encoder) == pytest.approx(
        {
            "heldout_loss": 14 / 10,
            "heldout_nats": 14 / 10,
            "heldout_most": (6 * 4 + 4 * 5) / 10,
            "heldout_perplexity": math.exp(14 / 10),
        }
    )
    first = objective.calls.copy()
    assert [call["rows"] for call in first] == [[3, 1, 4], [1, 5]]
    assert {call["modes"] for call in first} == {(False, False, False)} and {call["scale"] for call in first} == {1.0}
    # each batch has masks and dropout of its own, which are the same in every reading
    assert len({call["draw"] for call in first}) == len({call["seed"] for call in first}) == 2
    assert (encoder.training, objective.training) == (training, objective_trains)
    read(encoder)
    assert objective.calls[2:] == first
    other: Any = Numbers()
    HeldOut(other, encoder, [3, 1, 4], size=3, limit=None, seed=1).read(encoder)
    assert other.calls[0]["draw"] != first[0]["draw"] and other.calls[0]["seed"] != first[0]["seed"]


def test_without_a_label_the_loss_is_zero_and_a_huge_perplexity_is_a_number() -> None:
    encoder: Any = torch.nn.Linear(1, 1)
    encoder.device = "cpu"
    unlabeled: Any = Numbers()
    unlabeled.labels = 0
    found = HeldOut(unlabeled, encoder, [0], size=1, limit=None, seed=0).read(encoder)
    assert (found["heldout_loss"], found["heldout_perplexity"]) == (0.0, 1.0)
    single: Any = Numbers()
    single.labels = 1
    assert HeldOut(single, encoder, [3], size=1, limit=None, seed=0).read(encoder)["heldout_loss"] == 3.0
    huge: Any = Numbers()
    found = HeldOut(huge, encoder, [10**6], size=1, limit=None, seed=0).read(encoder)
    assert found["heldout_perplexity"] == math.exp(700.0)
