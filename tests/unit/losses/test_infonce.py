"""InfoNCE against a naive float64 loop, and its independence of length, order and autocast."""

from __future__ import annotations

import math

import pytest
import torch

from bothways.losses.infonce import alignment, column_loss, cosine_logits, info_nce


def vectors(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def naive(query, columns, labels, scale) -> torch.Tensor:
    """The formula, one row and one column at a time."""
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(query)):
        scores = [scale * (query[i] @ column) / (query[i].norm() * column.norm()) for column in columns]
        total = total - torch.log(torch.exp(scores[labels[i]]) / sum(torch.exp(score) for score in scores))
    return total


@pytest.mark.parametrize("scale", [1.0, 20.0, 50.0])
def test_loss_and_gradient_equal_the_naive_loop(scale):
    labels = torch.tensor([3, 0, 6, 2, 5])
    pairs = []
    for function in (lambda q, c: info_nce(q, c, labels, scale=scale).total, lambda q, c: naive(q, c, labels, scale)):
        query, columns = vectors(5, 8, seed=1).requires_grad_(), vectors(7, 8, seed=2).requires_grad_()
        loss = function(query, columns)
        loss.backward()
        pairs.append((loss.detach(), query.grad, columns.grad))
    for ours, reference in zip(*pairs):
        torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-10)  # float64 rounding of ~100 operations


def test_count_and_correct():
    query = torch.eye(4)
    result = info_nce(query, query[[1, 0, 2, 3]], torch.arange(4))
    assert result.count == 4
    assert int(result.correct) == 2


def test_lengths_of_vectors_do_not_matter():
    query, columns, labels = vectors(4, 8), vectors(4, 8, seed=1), torch.arange(4)
    once = info_nce(query, columns, labels).total
    torch.testing.assert_close(info_nce(query * 7, columns * 0.01, labels).total, once)


def test_identical_vectors_cost_log_of_the_columns():
    same = torch.ones(6, 4)
    loss = info_nce(same, same, torch.arange(6), scale=20.0)
    assert float(loss.total / loss.count) == pytest.approx(math.log(6), rel=1e-6)


def test_rows_and_columns_may_come_in_any_order():
    query, columns = vectors(6, 8), vectors(6, 8, seed=1)
    order = torch.tensor([4, 1, 5, 0, 3, 2])
    place = torch.argsort(order)
    loss = info_nce(query, columns, torch.arange(6)).total
    torch.testing.assert_close(info_nce(query, columns[order], place).total, loss)


def test_a_column_of_minus_infinity_is_not_there():
    query, columns, labels = vectors(3, 8), vectors(4, 8, seed=1), torch.arange(3)
    logits = cosine_logits(query, columns, scale=20.0)
    logits[:, 3] = float("-inf")
    torch.testing.assert_close(column_loss(logits, labels).total, info_nce(query, columns[:3], labels).total)


def test_autocast_does_not_lower_the_precision():
    query, columns, labels = vectors(8, 64, dtype=torch.float32), vectors(8, 64, seed=1, dtype=torch.float32), torch.arange(8)
    outside = info_nce(query, columns, labels).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = info_nce(query, columns, labels).total
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


def test_bfloat16_vectors_give_a_float32_loss():
    query = vectors(4, 8, dtype=torch.bfloat16)
    assert info_nce(query, query, torch.arange(4)).total.dtype == torch.float32


def test_alignment_is_the_mean_cosine_of_pairs():
    first, second = vectors(5, 8), vectors(5, 8, seed=1)
    expected = sum(torch.cosine_similarity(a, b, dim=0) for a, b in zip(first, second)) / 5
    torch.testing.assert_close(alignment(first, second), expected)
    assert float(alignment(first, 3 * first)) == pytest.approx(1.0)
