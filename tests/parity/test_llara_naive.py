"""The losses of the cost benchmark: the released code's form, with logits of every token, equals
ours on the same states.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "llara_cost.py"


@pytest.fixture(scope="module")
def cost():
    spec = importlib.util.spec_from_file_location("llara_cost", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_forms_give_the_same_loss_and_gradient(cost):
    torch.manual_seed(0)
    head = nn.Linear(16, 300, bias=False).double().requires_grad_(False)
    m = cost.material(3, 64, 16, 300, torch.device("cpu"))
    found = []
    for form in (cost.ours, cost.naive):
        states = m["states"].double().requires_grad_()
        loss = form(states, head, m)
        # the naive form computes logits in float32, as the released code does
        found.append((loss.detach().double(), *torch.autograd.grad(loss, states)))
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_measurement_sees_the_logits(cost):
    """Naive: logits of 3 · 64 tokens in float32 at least; ours: those of a chunk, which is smaller
    the longer the rows.
    """
    torch.manual_seed(0)
    head = nn.Linear(16, 2000, bias=False).requires_grad_(False)
    found = cost.compare(head, cost.material(16, 128, 16, 2000, torch.device("cpu")), repeats=1)
    assert found["naive"]["bytes"] > 16 * 128 * 2000 * 4
    assert found["ours"]["bytes"] < 0.6 * found["naive"]["bytes"]
    assert found["ours"]["loss"] == pytest.approx(found["naive"]["loss"], rel=1e-5)
