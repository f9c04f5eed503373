"""Gradients added over processes: every one once, in pieces of bounded size, and unused parameters
as zeros.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bothways.training.loop import weight_update
from bothways.training.loop.optim import OptimConfig, build_optimizer
from bothways.training.loop.weight_update import PlainUpdate


class Two:
    """Accelerate's part in a run of two processes with equal gradients."""

    num_processes = 2

    def __init__(self) -> None:
        self.exchanged: list[int] = []

    def reduce(self, tensor: torch.Tensor, how: str) -> torch.Tensor:
        assert how == "sum"
        self.exchanged.append(tensor.numel())
        return tensor * 2

    def clip_grad_norm_(self, parameters: list[nn.Parameter], limit: float) -> torch.Tensor:
        return nn.utils.clip_grad_norm_(parameters, limit)


@pytest.mark.parametrize(("most", "pieces"), [(10_000, [30]), (1, [4, 6, 20]), (10, [10, 20]), (11, [30])])
def test_gradients_of_two_processes_are_added(monkeypatch: pytest.MonkeyPatch, most: int, pieces: list[int]) -> None:
    monkeypatch.setattr(weight_update, "EXCHANGED", most)
    parameters = {f"p{number}": nn.Parameter(torch.zeros(number, 2)) for number in (2, 3, 10)}
    accelerator: Any = Two()
    made = PlainUpdate(parameters, build_optimizer(parameters, OptimConfig()), accelerator, None)
    gradients = {name: torch.randn_like(parameter) for name, parameter in parameters.items() if name != "p3"}
    for name, gradient in gradients.items():
        parameters[name].grad = gradient.clone()
    norm = made.finish()
    assert accelerator.exchanged == pieces
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, 2 * gradients.get(name, torch.zeros(3, 2)))
    assert norm == pytest.approx(2 * float(torch.cat([each.flatten() for each in gradients.values()]).norm()), rel=1e-5)
    assert not made.together
    made.begin()
    assert all(parameter.grad is None for parameter in parameters.values())


def test_a_step_has_the_rate_that_it_is_given() -> None:
    """Not the peak, which the optimizer was built with. AdamW's first step is the rate times the
    gradient's sign.
    """
    parameters = {"p": nn.Parameter(torch.zeros(2, 3))}
    accelerator: Any = Two()
    made = PlainUpdate(parameters, build_optimizer(parameters, OptimConfig(lr=1.0)), accelerator, None)
    parameters["p"].grad = torch.tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]])
    made.step(0.01)
    torch.testing.assert_close(parameters["p"].detach(), -0.01 * parameters["p"].grad.sign())
