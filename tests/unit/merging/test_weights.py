"""The arithmetic of merging against formulas in float64."""

from __future__ import annotations

import math

import pytest
import torch

from bothways.errors import InputError
from bothways.merging.weights import merged_tensors, normalized, slerp, weighted_mean


def tensors(count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 5, generator=generator) for _ in range(count)]


def test_a_mean_is_weighted_in_float64_and_keeps_the_type():
    found = tensors()
    expected = 0.5 * found[0].double() + 0.3 * found[1].double() + 0.2 * found[2].double()
    assert torch.equal(weighted_mean(found, [0.5, 0.3, 0.2]), expected.float())
    assert weighted_mean([each.bfloat16() for each in found], [0.5, 0.3, 0.2]).dtype == torch.bfloat16


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
def test_slerp_keeps_to_the_arc(t):
    """For unit vectors: length 1, and the angle to the first is t of the whole angle."""
    first, second = (each.double() / each.norm() for each in tensors(2))
    found = slerp(first, second, t)
    whole = math.acos(float((first * second).sum()))
    assert float(found.norm()) == pytest.approx(1)
    assert math.acos(min(1.0, float((first * found).sum()))) == pytest.approx(t * whole, abs=1e-7)
    # in the plane of both: the reference by Gram-Schmidt
    other = second - (first * second).sum() * first
    plane = math.cos(t * whole) * first + math.sin(t * whole) * other / other.norm()
    torch.testing.assert_close(found, plane)


def test_slerp_of_parallel_and_zero_tensors_is_linear():
    first = tensors(1)[0]
    torch.testing.assert_close(slerp(first, 3 * first, 0.25), 1.5 * first)
    torch.testing.assert_close(slerp(first, torch.zeros_like(first), 0.25), 0.75 * first)
    torch.testing.assert_close(slerp(first, -first, 0.25), 0.5 * first)


def test_whole_numbers_must_be_equal():
    one = {"weight": torch.ones(2), "places": torch.tensor([1, 2])}
    assert torch.equal(merged_tensors([one, one], lambda both: both[0] + both[1])["places"], one["places"])
    with pytest.raises(InputError, match="differ in places, which holds whole numbers"):
        merged_tensors([one, {**one, "places": torch.tensor([1, 3])}], lambda both: both[0])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "1 weights for 2 models"),
        ([1.0, -1.0], "at least 0"),
        ([0.0, 0.0], "not all 0"),
        ([1.0, math.nan], "at least 0"),
    ],
)
def test_weights_that_are_no_shares_are_refused(weights, message):
    with pytest.raises(InputError, match=message):
        normalized(weights, 2)


def test_weights_are_divided_by_their_sum():
    assert normalized([2, 1, 1], 3) == [0.5, 0.25, 0.25]
    assert normalized(None, 4) == [0.25] * 4
