"""Rounded vectors: those of sentence-transformers' binary ones, and the straight-through gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers.util import quantize_embeddings

from bothways.losses.contrastive import ContrastiveOptions, Rows, contrastive_loss
from bothways.losses.matryoshka import Matryoshka
from bothways.losses.quantization import straight_through
from bothways.objectives.supervised import SupervisedConfig
from unit.objectives.small_encoder import make_encoder
from unit.objectives.test_supervised import ROWS


def vectors() -> torch.Tensor:
    return torch.randn(5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_binary_vectors_are_the_bits_of_sentence_transformers():
    given = vectors()
    bits = np.packbits(straight_through(given, "binary").numpy() > 0, axis=1)
    assert (bits == quantize_embeddings(given.numpy(), "ubinary")).all()
    assert set(straight_through(given, "binary").unique().tolist()) == {-1.0, 1.0}


def test_int8_vectors_are_on_a_grid_near_the_vectors():
    given = vectors()
    unit = torch.nn.functional.normalize(given, dim=-1) * 4
    step = unit.abs().amax(0) / 127
    rounded = straight_through(given, "int8")
    assert (rounded - unit).abs().le(step / 2 + 1e-12).all()
    assert torch.allclose((rounded / step).round(), rounded / step, atol=1e-9)


@pytest.mark.parametrize("precision", ["int8", "binary"])
def test_the_gradient_is_that_of_the_unrounded_vectors(precision):
    given = vectors().requires_grad_()
    weights = torch.randn(5, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (ours,) = torch.autograd.grad((straight_through(given, precision) * weights).sum(), given)
    (theirs,) = torch.autograd.grad((torch.nn.functional.normalize(given, dim=-1) * 4 * weights).sum(), given)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("precision", ["int8", "binary"])
def test_each_width_is_learned_with_its_rounded_numbers(precision):
    """Loops in float64; the gradient of the rounded numbers goes to the vectors of length √D as it is."""
    given = [
        part.requires_grad_() for part in torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ]
    options = ContrastiveOptions(scale=5.0, matryoshka=Matryoshka((16, 6), (1.0, 0.5)))
    rows = Rows(*straight_through(torch.cat(given), precision).chunk(2), None, None)
    ours = contrastive_loss(rows, options).total

    wide = [torch.nn.functional.normalize(each, dim=-1) * 4 for each in given]
    both = torch.cat(wide).detach()
    if precision == "binary":
        rounded = torch.tensor([[1.0 if number > 0 else -1.0 for number in row] for row in both.tolist()], dtype=torch.float64)
    else:
        steps = [max(abs(number) for number in column) / 127 for column in both.T.tolist()]
        rounded = torch.tensor(
            [[round(x / step) * step for x, step in zip(row, steps)] for row in both.tolist()], dtype=torch.float64
        )
    query, positive = (part.clone().requires_grad_() for part in rounded.chunk(2))
    expected = torch.zeros((), dtype=torch.float64)
    for width, weight in ((16, 1.0), (6, 0.5)):
        for i in range(5):
            cosines = [
                5.0 * (query[i, :width] @ positive[j, :width]) / (query[i, :width].norm() * positive[j, :width].norm())
                for j in range(5)
            ]
            expected = expected + weight * (torch.stack(cosines).logsumexp(0) - cosines[i])
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)
    through = torch.autograd.grad(expected, [query, positive])
    theirs = torch.autograd.grad(wide, given, through)
    for mine, other in zip(torch.autograd.grad(ours, given), theirs):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-10)


def test_the_objective_adds_the_loss_of_rounded_vectors():
    encoder = make_encoder()[0].train()
    losses = {}
    for chosen in ((), ("binary",), ("int8",), ("binary", "int8")):
        objective = SupervisedConfig(scale=20.0, quantize=chosen or None).build(encoder)
        batch = objective.collate(objective.prepare(ROWS, encoder), torch.Generator().manual_seed(0))
        losses[chosen] = float(objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0).loss_sum)
    plain = losses[()]
    binary, int8 = losses[("binary",)] - plain, losses[("int8",)] - plain
    assert losses[("binary", "int8")] == pytest.approx(plain + binary + int8, rel=1e-5)
    assert int8 == pytest.approx(plain, rel=0.02), "int8 hardly rounds"
    assert abs(binary - plain) > 0.02 * plain
