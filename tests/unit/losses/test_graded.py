"""CoSENT and AnglE against a loop over pairs in float64, and against sentence-transformers."""

from __future__ import annotations

import math

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import AnglELoss, CoSENTLoss

from bothways.losses.graded import GRADED_SCALE, angle_similarity, cosent, pair_cosines

LABELS = torch.tensor([3.0, 0.5, 3.0, 5.0, 0.0, 1.2, 0.5])


def pairs(width: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    first = torch.randn(len(LABELS), width, generator=generator, dtype=torch.float64)
    second = first + torch.randn(len(LABELS), width, generator=generator, dtype=torch.float64)
    return first.requires_grad_(), second.requires_grad_()


def complex_similarity(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """AnglE's quotient in complex arithmetic: |Σ Re + Im| of (z / |z|) · conj(w / |w|)."""
    half = first.shape[1] // 2
    z, w = torch.complex(first[:, :half], first[:, half:]), torch.complex(second[:, :half], second[:, half:])
    product = z * w.conj()
    return ((product.real + product.imag).sum(1) / (first.norm(dim=1) * second.norm(dim=1))).abs()


def loop(similarities: torch.Tensor, labels: torch.Tensor, groups: torch.Tensor | None = None) -> torch.Tensor:
    total = torch.ones((), dtype=torch.float64)
    for i in range(len(labels)):
        for j in range(len(labels)):
            if labels[i] > labels[j] and (groups is None or groups[i] == groups[j]):
                total = total + torch.exp(similarities[j] - similarities[i])
    return total.log()


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("kind", ["cosine", "angle"])
def test_loss_and_gradient_equal_the_loop_and_sentence_transformers(kind, grouped):
    first, second = pairs()
    groups = torch.tensor([0, 0, 1, 1, 0, 1, 0]) if grouped else None
    ours = {"cosine": pair_cosines, "angle": angle_similarity}[kind]
    plain = {"cosine": torch.cosine_similarity, "angle": complex_similarity}[kind]
    loss = cosent(GRADED_SCALE * ours(first, second), LABELS, groups)
    expected = loop(GRADED_SCALE * plain(first, second), LABELS, groups)
    # float64, a few hundred operations
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=1e-11)
    gradients = torch.autograd.grad(loss, [first, second])
    for mine, theirs in zip(gradients, torch.autograd.grad(expected, [first, second])):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)
    if not grouped:
        library = {"cosine": CoSENTLoss, "angle": AnglELoss}[kind](None, scale=GRADED_SCALE)
        theirs = library.compute_loss_from_embeddings([first, second], LABELS.double())
        torch.testing.assert_close(loss, theirs, rtol=1e-9, atol=1e-9)


def test_equal_labels_are_not_compared_and_a_right_order_costs_little():
    first, second = pairs()
    assert float(cosent(pair_cosines(first, second), torch.ones(len(LABELS))).detach()) == 0
    right = cosent(LABELS.double() * 100, LABELS)
    wrong = cosent(LABELS.double() * -100, LABELS)
    assert float(right) < 1e-6
    assert float(wrong) > 100
    two = cosent(torch.tensor([0.25, 0.75]), torch.tensor([1, 0]))
    assert float(two) == pytest.approx(math.log(1 + math.exp(0.5)))


def test_an_odd_width_is_filled_and_bfloat16_becomes_float32():
    first, second = pairs(width=5)
    filled = [torch.cat([each, each.new_zeros(len(each), 1)], dim=1) for each in (first, second)]
    torch.testing.assert_close(angle_similarity(first, second), complex_similarity(*filled))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert pair_cosines(first.bfloat16(), second.bfloat16()).dtype == torch.float32
