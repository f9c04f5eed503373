"""One optimiser step against brute force: global normalisation over accumulation, ragged counts and
processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

import bothways as bw
from bothways.errors import InputError
from bothways.objectives.objective import Objective, StepOutput
from bothways.training.loop.optim import OptimConfig, build_optimizer
from bothways.training.loop.optimizer_step import Diverged, Stepper, trainable_parameters
from bothways.training.loop.randomness import Order
from bothways.training.loop.weight_update import PlainUpdate
from unit.training.material import TEXTS, metrics, recipe, simcse, state


@dataclass
class RaggedBatch:
    x: torch.Tensor
    y: torch.Tensor
    kept: torch.Tensor

    def to(self, device):
        return self


class Regression(Objective):
    """Squared error of a linear map over a *ragged* number of labels per example: the mean of means
    would be wrong.
    """

    def __init__(self, examples: int = 24) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(examples, 3, generator=generator)
        self.y = torch.randn(examples, 5, generator=generator)
        self.kept = torch.arange(5)[None] < torch.randint(0, 6, (examples, 1), generator=generator)

    def prepare(self, texts, encoder):
        return list(range(len(self.x)))

    def collate(self, examples, generator):
        return RaggedBatch(self.x[examples], self.y[examples], self.kept[examples])

    def count(self, batch):
        return int(batch.kept.sum())

    def step(self, encoder, batch, *, scale, backward, seed):
        errors = ((encoder(batch.x) - batch.y) ** 2)[batch.kept]
        backward(errors.sum() * scale)
        count = self.count(batch)
        hit = (errors.detach() < 1).float().mean() if count else torch.zeros(())
        return StepOutput(errors.sum().detach(), count, {"hit": hit})


def stepper(size: int, accumulation: int, *, clip: float | None = None) -> Stepper:
    torch.manual_seed(1)
    encoder, objective = nn.Linear(3, 5), Regression()
    accelerator = Accelerator(cpu=True)
    parameters = trainable_parameters(encoder, objective)
    examples = objective.prepare([], encoder)
    order = Order(len(examples), size=size, accumulation=accumulation, world=accelerator.num_processes, seed=5, stage=0)
    update = PlainUpdate(parameters, build_optimizer(parameters, OptimConfig(lr=0.1)), accelerator, clip)
    return Stepper(
        encoder=encoder,
        objective=objective,
        examples=examples,
        order=order,
        update=update,
        accelerator=accelerator,
        accumulation=accumulation,
        seed=5,
        stage=0,
    )


def result(made: Stepper, steps: int = 3) -> dict:
    done = [made(step, 0.05) for step in range(steps)]
    return {
        "loss": [each.loss for each in done],
        "norm": [each.grad_norm for each in done],
        "hit": [each.metrics["hit"] for each in done],
        "weight": made.encoder.weight.detach().flatten().tolist(),
    }


def test_loss_and_gradient_equal_brute_force_in_float64() -> None:
    made = stepper(2, 4)
    rows = [row for micro in range(4) for row in made.order.rows(0, micro, 0)]
    objective, encoder = made.objective, made.encoder
    weight = encoder.weight.detach().double().requires_grad_()
    bias = encoder.bias.detach().double().requires_grad_()
    total, count = 0.0, 0
    for row in rows:
        for label in range(5):
            if objective.kept[row, label]:
                total = (
                    total + (weight[label] @ objective.x[row].double() + bias[label] - objective.y[row, label].double()) ** 2
                )
                count += 1
    (total / count).backward()
    assert len({int(objective.kept[row].sum()) for row in rows}) > 2  # ragged, or the test says nothing
    norm = float(torch.cat([weight.grad.flatten(), bias.grad]).norm())
    done = made(0, 0.0)
    assert done.loss == pytest.approx(float(total.detach() / count), rel=1e-6)
    assert done.grad_norm == pytest.approx(norm, rel=1e-6)
    torch.testing.assert_close(encoder.weight.grad.double(), weight.grad, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("split", [(4, 2), (2, 4), (1, 8)])
def test_accumulation_changes_nothing(split: tuple[int, int]) -> None:
    whole, parts = result(stepper(8, 1)), result(stepper(*split))
    for name in whole:
        # the same sums in another order
        assert parts[name] == pytest.approx(whole[name], rel=2e-5, abs=1e-6), name


TWO = """
import json, sys
from pathlib import Path
sys.path[:0] = {paths!r}
import bothways as bw
from unit.training.material import TEXTS, recipe, simcse
from unit.training.loop.test_optimizer_step import result, stepper
made = stepper({size}, {accumulation})
assert made.accelerator.num_processes == 2
found = result(made)
if made.accelerator.is_main_process:
    Path({out!r}, "two.json").write_text(json.dumps(found))
# ... and a whole run, whose contrastive loss gathers rows from both processes
bw.train(recipe(Path({out!r}), simcse()), Path({out!r}, "run"), texts=TEXTS)
"""


def test_two_processes_equal_one_with_twice_the_rows(tmp_path: Path) -> None:
    made = recipe(tmp_path, simcse())
    paths = [path for path in sys.path if path]
    script = tmp_path / "two.py"
    script.write_text(TWO.format(paths=paths, size=2, accumulation=2, out=str(tmp_path)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    two, one = json.loads((tmp_path / "two.json").read_text()), result(stepper(8, 1))
    for name in one:
        assert two[name] == pytest.approx(one[name], rel=2e-5, abs=1e-6), name

    out = tmp_path / "run"
    assert bw.load(out).provenance["stages"][0]["steps"] == 6
    history = state(out, "1-simcse", 6)
    assert history["facts"]["processes"] == 2
    # the other process logs nothing
    assert len([line for line in metrics(out) if "loss" in line]) == 3
    (out / "modules.json").unlink()
    with pytest.raises(InputError, match=r"processes has changed \(2 → 1\)"):
        bw.train(made, out, resume=True, texts=TEXTS)


def test_a_step_without_labels_has_loss_zero_and_moves_nothing() -> None:
    made = stepper(2, 1)
    made.objective.kept[:] = False
    before = made.encoder.weight.detach().clone()
    done = made(0, 0.1)
    assert done.loss == 0
    assert torch.equal(made.encoder.weight, before)


def test_clipping_reports_the_norm_before_and_applies_the_limit() -> None:
    free, clipped = stepper(8, 1), stepper(8, 1, clip=0.01)
    assert free(0, 0.0).grad_norm == pytest.approx(clipped(0, 0.0).grad_norm)
    left = torch.cat([each.grad.flatten() for each in clipped.update.parameters]).norm()
    assert float(left) == pytest.approx(0.01, rel=1e-3)


def test_a_loss_that_is_not_finite_stops_before_the_update() -> None:
    made = stepper(8, 1)
    made.objective.x[:] = float("inf")
    before = made.encoder.weight.detach().clone()
    with pytest.raises(Diverged, match=r"step 1: loss .* lower optim\.lr"):
        made(0, 0.1)
    assert torch.equal(made.encoder.weight, before)


def test_tied_parameters_are_trained_once() -> None:
    layer = nn.Linear(2, 2)
    objective = Regression()
    objective.head = layer
    names = list(trainable_parameters(nn.Sequential(layer), objective))
    assert names == ["encoder.0.weight", "encoder.0.bias"]


class Masks(Objective):
    """Notes the dropout mask of each micro-batch, drawn as objectives draw theirs: from the seed
    that the step gives.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def prepare(self, texts, encoder):
        return list(texts)

    def collate(self, examples, generator):
        return torch.zeros(len(examples), 3)

    def count(self, batch):
        return len(batch)

    def step(self, encoder, batch, *, scale, backward, seed):
        torch.manual_seed(seed)
        self.seen.append(nn.functional.dropout(torch.ones(64), 0.5))
        loss = encoder(batch).sum() * 0
        backward(loss)
        return StepOutput(loss.detach(), len(batch))


def test_steps_over_the_same_rows_draw_different_masks() -> None:
    encoder, objective, accelerator = nn.Linear(3, 5), Masks(), Accelerator(cpu=True)
    parameters = trainable_parameters(encoder, objective)
    # as many rows as a step takes, so each step has all of them
    order = Order(4, size=2, accumulation=2, world=1, seed=5, stage=0)
    update = PlainUpdate(parameters, build_optimizer(parameters, OptimConfig(lr=0.1)), accelerator, None)
    parts: Any = {"encoder": encoder, "objective": objective, "examples": list(range(4)), "order": order, "update": update}
    parts |= {"accelerator": accelerator, "accumulation": 2, "seed": 5, "stage": 0}
    made = Stepper(**parts)
    for step in range(3):
        made(step, 0.1)
    again = Stepper(**parts)
    again(2, 0.1)  # resumed there
    masks = objective.seen
    assert len(masks) == 8
    assert len({tuple(mask.tolist()) for mask in masks[:6]}) == 6  # 3 steps of 2 micro-batches
    assert torch.equal(masks[4], masks[6])
    assert torch.equal(masks[5], masks[7])
