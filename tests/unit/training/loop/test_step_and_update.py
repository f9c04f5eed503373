"""What an optimizer step tells the update, and what the update does with it."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bothways.objectives.objective import PassBackward, StepOutput
from bothways.training.loop.optimizer_step import Diverged
from unit.training.loop.test_optimizer_step import Regression, stepper


class Recording:
    """An update that notes its calls, and says that the gradient has a given norm."""

    together = True

    def __init__(self, norm: float = 1.0) -> None:
        self.norm = norm
        self.calls: list[Any] = []

    def begin(self) -> None:
        self.calls.append("begin")

    def backward(self, loss: torch.Tensor, *, last: bool) -> None:
        self.calls.append((float(loss), last))

    def finish(self) -> float:
        self.calls.append("finish")
        return self.norm

    def step(self, lr: float) -> None:
        self.calls.append(("step", lr))


class Given(Regression):
    """Each example is the loss of its micro-batch, which has two passes and so many labels."""

    together: bool | None = None
    labels = 1

    def prepare(self, texts: Any, encoder: Any) -> list[float]:
        return [2.0] * 24

    def collate(self, examples: Any, generator: Any) -> Any:
        batch = SimpleNamespace(loss=sum(examples))
        batch.to = lambda device: batch
        return batch

    def count(self, batch: Any) -> int:
        return self.labels

    def step(self, encoder: Any, batch: Any, *, scale: float, backward: PassBackward, seed: int) -> StepOutput:
        self.together = backward.together
        loss = torch.tensor(batch.loss)
        backward.more(loss * scale / 4)
        backward(loss * scale * 3 / 4)
        return StepOutput(loss, self.labels, {})


def given(accumulation: int, norm: float = 1.0, labels: int = 1) -> Any:
    made: Any = stepper(1, accumulation)
    made.objective, made.update = Given(), Recording(norm)
    made.objective.labels = labels
    made.examples = made.objective.prepare([], None)
    return made


@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_last_pass_of_the_last_micro_batch_is_the_last(accumulation: int) -> None:
    made = given(accumulation)
    done = made(0, 0.25)
    part = 2.0 / accumulation
    passes = [(part / 4, False), (part * 3 / 4, False)] * accumulation
    passes[-1] = (part * 3 / 4, True)
    found = made.update.calls
    assert (found[0], found[-2:]) == ("begin", ["finish", ("step", 0.25)])
    assert [last for _, last in found[1:-2]] == [last for _, last in passes]
    assert [loss for loss, _ in found[1:-2]] == pytest.approx([loss for loss, _ in passes])
    assert made.objective.together is True
    # one label in each micro-batch, of which each has the loss 2, and no tokens
    assert (done.loss, done.lr, done.tokens, done.interrupted) == (pytest.approx(2.0), 0.25, 0, False)


def test_a_stop_is_reported_and_does_not_hurt_the_step() -> None:
    made = given(1)
    assert made(0, 0.1, interrupted=True).interrupted and made.update.calls[-1] == ("step", 0.1)


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_moves_nothing(norm: float) -> None:
    """The loss of such a step may be finite: a root's slope at 0."""
    made = given(1, norm)
    with pytest.raises(Diverged, match=r"step 1: loss 2\.0, gradient norm (nan|inf)"):
        made(0, 0.1)
    assert made.update.calls[-1] == "finish"


def test_counts_of_many_processes_are_exact() -> None:
    """Float32 has no odd numbers above 2^24, which a step over long rows passes."""
    made = given(1, labels=2**24 + 1)
    made.accelerator = SimpleNamespace(
        num_processes=3,
        process_index=0,
        device=torch.device("cpu"),
        reduce=lambda tensor, how: {"sum": 3 * tensor}[how],
    )
    made(0, 0.1)
    losses = [call[0] for call in made.update.calls if isinstance(call, tuple) and call[0] != "step"]
    assert sum(losses) == pytest.approx(2.0 / (3 * (2**24 + 1)), rel=1e-12)
    assert made._sum([2**24 + 1, 0.5]) == [3 * (2**24 + 1), 1.5]


def test_three_steps_are_those_of_adamw_in_float64() -> None:
    """Decoupled weight decay is 0 by default; rates of a schedule that changes."""
    made = stepper(8, 1)
    weight = torch.cat([made.encoder.weight.detach().double(), made.encoder.bias.detach().double()[:, None]], 1)
    first, second = torch.zeros_like(weight), torch.zeros_like(weight)
    group = made.update.optimizer.param_groups[0]
    (one, two), eps, decay = group["betas"], group["eps"], group["weight_decay"]
    for step, rate in enumerate((0.1, 0.05, 0.2)):
        rows = made.order.rows(step, 0, 0)
        x = torch.cat([made.objective.x[rows].double(), torch.ones(len(rows), 1, dtype=torch.float64)], 1)
        kept = made.objective.kept[rows].double()
        errors = (x @ weight.T - made.objective.y[rows].double()) * kept
        slope = 2 * errors.T @ x / kept.sum()
        first, second = one * first + (1 - one) * slope, two * second + (1 - two) * slope**2
        weight = weight * (1 - rate * decay)
        weight = weight - rate * (first / (1 - one ** (step + 1))) / ((second / (1 - two ** (step + 1))).sqrt() + eps)
        made(step, rate)
    found = torch.cat([made.encoder.weight.double(), made.encoder.bias.double()[:, None]], 1)
    torch.testing.assert_close(found, weight, atol=1e-5, rtol=1e-4)
