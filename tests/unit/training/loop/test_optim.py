"""Learning rate and optimiser against transformers' schedules and a hand-written AdamW step."""

from __future__ import annotations

import pytest
import torch
from transformers import get_scheduler

from bothways.config import parse
from bothways.errors import InputError
from bothways.training.loop.optim import OptimConfig, build_optimizer, lr_factor, set_lr


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0, 7])
def test_schedules_equal_those_of_transformers(schedule: str, warmup: int) -> None:
    horizon = 40
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    name = {"constant": "constant_with_warmup"}.get(schedule, schedule)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=horizon)
    config = OptimConfig(schedule=schedule, warmup_steps=warmup)
    for step in range(horizon + 1):
        # the same float64 arithmetic
        assert lr_factor(config, step, horizon) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12), step
        optimizer.step()
        scheduler.step()


def test_llm2vec_rate_at_the_stop() -> None:
    """methods.md 1b: one million sentences in batches of 128, three epochs: about 96 % of the peak
    at step 1000.
    """
    config = OptimConfig(lr=3e-5, epochs=3, stop_after_steps=1000)
    per_epoch = 1_000_000 // 128
    assert config.stop(per_epoch) == 1000
    assert lr_factor(config, 1000, config.horizon(per_epoch)) == pytest.approx(0.957, abs=5e-4)


def test_horizon_and_stop() -> None:
    assert OptimConfig().horizon(10) == 30
    assert OptimConfig(epochs=0.25).horizon(10) == 3
    assert OptimConfig(steps=7).stop(10) == 7
    assert OptimConfig(steps=7, stop_after_steps=99).stop(10) == 7
    assert OptimConfig(epochs=0.01).horizon(10) == 1
    assert lr_factor(OptimConfig(warmup_ratio=0.1), 1, 20) == 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 1, "steps": 2}, "either epochs or steps"),
        ({"warmup_steps": 1, "warmup_ratio": 0.1}, "either warmup_steps or warmup_ratio"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"lr": 0}, "lr"),
        ({"learning_rate": 1}, "unknown key 'learning_rate'"),
    ],
)
def test_contradictions_are_refused(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(OptimConfig, values, where="optim")


def test_first_step_equals_the_formula_and_vectors_are_not_decayed() -> None:
    torch.manual_seed(0)
    matrix, vector = torch.nn.Parameter(torch.randn(3, 2)), torch.nn.Parameter(torch.randn(2))
    start = {"matrix": matrix.detach().clone().double(), "vector": vector.detach().clone().double()}
    config = OptimConfig(lr=1.0, weight_decay=0.1, eps=1e-8)
    optimizer = build_optimizer({"matrix": matrix, "vector": vector}, config)
    set_lr(optimizer, 0.01)
    matrix.grad, vector.grad = torch.randn(3, 2), torch.randn(2)
    optimizer.step()
    # after one step the bias-corrected moments are g and g^2, so the update is lr * g / (|g| + eps)
    for name, parameter, decay in (("matrix", matrix, 0.1), ("vector", vector, 0.0)):
        gradient = parameter.grad.double()
        expected = start[name] * (1 - 0.01 * decay) - 0.01 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(parameter.detach().double(), expected, atol=1e-6, rtol=1e-6)


def test_two_steps_equal_the_formula_with_every_setting() -> None:
    """Algorithm 2 of the paper, in float64."""
    values = {"lr": 1.0, "weight_decay": 0.2, "betas": (0.6, 0.8), "eps": 0.3}
    parameter = torch.nn.Parameter(torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    optimizer = build_optimizer({"matrix": parameter}, OptimConfig(**values))
    set_lr(optimizer, 0.05)
    expected, first, second = parameter.detach().clone(), torch.zeros(3, 2), torch.zeros(3, 2)
    for step in (1, 2):
        gradient = torch.randn(3, 2, generator=torch.Generator().manual_seed(step + 1), dtype=torch.float64)
        parameter.grad = gradient.clone()
        optimizer.step()
        first = 0.6 * first + 0.4 * gradient
        second = 0.8 * second + 0.2 * gradient**2
        expected = expected * (1 - 0.05 * 0.2)
        expected = expected - 0.05 * (first / (1 - 0.6**step)) / ((second / (1 - 0.8**step)).sqrt() + 0.3)
    torch.testing.assert_close(parameter.detach(), expected, atol=1e-12, rtol=1e-12)
