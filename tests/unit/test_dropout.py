"""Dropout from sixteen bits: the same numbers as the plain formula, in fewer operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bothways.dropout import Dropout, dropout

LEVELS = 1 << 16


def plain(x: Tensor, p: float) -> Tensor:
    """The formula in three steps."""
    threshold = min(max(round(p * LEVELS), 1), LEVELS - 1)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
    kept = (bits >= threshold - LEVELS // 2).to(x.dtype)
    return x * kept * (LEVELS / (LEVELS - threshold))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("p", [0.05, 0.3, 0.9999])
def test_numbers_and_gradients_are_those_of_the_formula(dtype: torch.dtype, p: float) -> None:
    torch.manual_seed(0)
    given = (torch.randn(7, 33, 5) * 10 ** torch.randn(7, 33, 5)).to(dtype)
    found = []
    for call in (dropout, plain):
        torch.manual_seed(1)
        x = given.clone().requires_grad_()
        out = call(x, p)
        (gradient,) = torch.autograd.grad(out, x, torch.ones_like(out) / 3)
        found.append((out, gradient))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_the_share_and_the_mean() -> None:
    torch.manual_seed(0)
    out = dropout(torch.ones(400_000), 0.3)
    assert abs(float((out == 0).float().mean()) - 0.3) < 0.005 and abs(float(out.mean()) - 1) < 0.01
    assert dropout(out, 0.0) is out and Dropout(0.5).eval()(out) is out


def test_one_product_in_float32() -> None:
    """Dropout of attention weights passes over the largest tensors of a step."""
    x = torch.ones(8, requires_grad=True)
    node = dropout(x, 0.5).grad_fn
    assert node is not None and [type(each).__name__ for each, _ in node.next_functions if each] == ["AccumulateGrad"]
