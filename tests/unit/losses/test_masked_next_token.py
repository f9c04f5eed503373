"""The chunked head loss against the naive form in float64: value, gradients of states and head,
memory, autocast.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bothways.losses.masked_next_token import masked_next_token

M, H, V = 11, 6, 23


class CappedHead(nn.Module):
    """A head that is more than a matrix: bias, scale and soft cap, as Gemma 2 and Cohere have."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(H, V, dtype=torch.float64)
        self.unused = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def forward(self, states):
        return 5 * torch.tanh(self.linear(states) * 0.7 / 5)


def material(head: nn.Module | None = None, trained: bool = True):
    generator = torch.Generator().manual_seed(3)
    states = torch.randn(M, H, generator=generator, dtype=torch.float64)
    targets = torch.randint(V, (M,), generator=generator)
    torch.manual_seed(0)
    head = head or CappedHead()
    return states.requires_grad_(), targets, head.requires_grad_(trained)


@pytest.mark.parametrize("chunk", [1, 4, 11, 100])
@pytest.mark.parametrize("trained", [True, False])
def test_value_and_gradients_equal_the_naive_form(chunk, trained):
    states, targets, head = material(trained=trained)
    targets[::3] = head(states).argmax(-1)[::3]  # random labels alone are hardly ever the most probable token
    plain_states, plain_head = states.detach().clone().requires_grad_(), copy.deepcopy(head)
    loss = masked_next_token(states, targets, head, chunk=chunk)
    (loss.total * 0.25).backward()
    logits = plain_head(plain_states)
    expected = F.cross_entropy(logits, targets, reduction="sum")
    (expected * 0.25).backward()
    close = {"rtol": 1e-12, "atol": 1e-12}  # float64 sums in another order
    torch.testing.assert_close(loss.total.detach(), expected.detach(), **close)
    torch.testing.assert_close(states.grad, plain_states.grad, **close)
    assert loss.count == M
    assert 4 <= int(loss.correct) == int((logits.argmax(-1) == targets).sum()) < M
    if trained:
        torch.testing.assert_close(head.linear.weight.grad, plain_head.linear.weight.grad, **close)
        torch.testing.assert_close(head.linear.bias.grad, plain_head.linear.bias.grad, **close)
    else:
        assert head.linear.weight.grad is None


def test_gradients_pass_numerical_differentiation():
    states, targets, head = material()
    assert torch.autograd.gradcheck(lambda s: masked_next_token(s, targets, head, chunk=3).total, (states,))


def test_head_trains_on_frozen_states():
    states, targets, head = material()
    masked_next_token(states.detach(), targets, head).total.backward()
    assert head.linear.weight.grad.abs().sum() > 0


def test_two_losses_add_their_gradients():
    states, targets, head = material()
    masked_next_token(states, targets, head).total.backward()
    once = states.grad.clone()
    masked_next_token(states, targets, head).total.backward()
    torch.testing.assert_close(states.grad, 2 * once)


def test_without_gradient_only_the_value():
    states, targets, head = material()
    with torch.no_grad():
        loss = masked_next_token(states, targets, head)
    assert not loss.total.requires_grad
    torch.testing.assert_close(loss.total, F.cross_entropy(head(states), targets, reduction="sum").detach())


def test_no_masked_position_is_a_zero_with_zero_gradient():
    states, _, head = material()
    loss = masked_next_token(states[:0], torch.empty(0, dtype=torch.int64), head)
    assert loss.count == 0
    loss.total.backward()
    assert float(loss.total.detach()) == 0
    assert float(states.grad.abs().sum()) == 0


def test_logits_of_all_positions_never_exist():
    """The head is called for `chunk` positions at a time, and each chunk's logits are gone before
    the next is made.
    """
    import weakref

    alive: list[weakref.ref] = []
    most = [0]

    class Watched(nn.Linear):
        def forward(self, states):
            assert len(states) <= 4
            assert not any(ref() is not None for ref in alive)
            logits = super().forward(states)
            alive.append(weakref.ref(logits))
            most[0] += 1
            return logits

    states, targets, head = material(Watched(H, V, dtype=torch.float64))
    loss = masked_next_token(states, targets, head, chunk=4)
    assert most[0] == 3
    loss.total.backward()
    assert most[0] == 3  # nothing is computed twice


def test_autocast_keeps_the_softmax_in_float32():
    states, targets, head = material(nn.Linear(H, V))
    states = states.detach().float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = masked_next_token(states, targets, head, chunk=4)
        logits = head(states)
    loss.total.backward()
    assert loss.total.dtype == torch.float32
    assert logits.dtype == torch.bfloat16
    # the same bfloat16 logits, only summed in another order in float32
    torch.testing.assert_close(
        loss.total.detach(), F.cross_entropy(logits.float(), targets, reduction="sum").detach(), rtol=1e-5, atol=1e-5
    )
    assert head.weight.grad is not None


def test_bfloat16_states_and_head_sum_in_float32():
    """A sum of 400 labels near 3 nats each needs more than bfloat16's 8 bits: there it would be off
    by several nats.
    """
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(H, V, dtype=torch.bfloat16).requires_grad_(False)
    states = torch.randn(400, H, generator=generator).bfloat16().requires_grad_()
    targets = torch.randint(V, (400,), generator=generator)
    loss = masked_next_token(states, targets, head, chunk=64)
    expected = F.cross_entropy(head(states).double(), targets, reduction="sum")
    assert loss.total.dtype == torch.float32
    torch.testing.assert_close(loss.total.detach().double(), expected.detach(), rtol=1e-6, atol=1e-4)
    loss.total.backward()
    assert states.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_weights_of_labels(chunk):
    states, targets, head = material()
    weights = torch.linspace(0, 2, M, dtype=torch.float64)
    found = masked_next_token(states, targets, head, weights=weights, chunk=chunk)
    expected = (F.cross_entropy(head(states), targets, reduction="none") * weights).sum()
    torch.testing.assert_close(found.total, expected, rtol=1e-12, atol=1e-12)
    leaves = [states, head.linear.weight]
    for one, other in zip(torch.autograd.grad(found.total, leaves), torch.autograd.grad(expected, leaves)):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert found.count == M
