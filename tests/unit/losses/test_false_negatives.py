"""Thresholds of false negatives, by numbers that can be checked in the head."""

from __future__ import annotations

import pytest
import torch

from bothways.losses.false_negatives import FalseNegatives, false_negatives


@pytest.mark.parametrize(
    ("own", "others", "left_out"),
    [
        (0.8, [0.39, 0.40, 0.41, 0.95], [False, True, True, True]),
        # half of -0.4 would be -0.2, above the positive itself; what counts is -0.4 / 0.5 = -0.8
        (-0.4, [-0.9, -0.8, -0.7, -0.3], [False, True, True, True]),
        (0.0, [-0.1, 0.0, 0.1, 0.2], [False, True, True, True]),
    ],
)
def test_a_fraction_lies_below_the_positive_whatever_its_sign(own: float, others: list[float], left_out: list[bool]) -> None:
    options = FalseNegatives(same_text=False, same_label=False, fraction=0.5)
    cosines = torch.tensor([[own, *others]], dtype=torch.float64)
    found = false_negatives(cosines, torch.tensor([0]), options, texts=None, gather=False)
    assert found.tolist() == [[False, *left_out]]


def test_a_margin_is_exceeded_and_not_met() -> None:
    options = FalseNegatives(same_text=False, same_label=False, margin=0.25)
    found = false_negatives(torch.tensor([[0.5, 0.75, 0.8]]), torch.tensor([0]), options, texts=None, gather=False)
    assert found.tolist() == [[False, False, True]]
