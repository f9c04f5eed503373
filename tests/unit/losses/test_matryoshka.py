"""Widths of Matryoshka: order, weights and refusals. The loss over widths is compared with a loop
in `test_contrastive`.
"""

from __future__ import annotations

import pytest

from bothways.errors import InputError
from bothways.losses.matryoshka import Matryoshka


def test_widths_come_largest_first_with_their_weights():
    assert Matryoshka((64, 256), (0.5, 2.0)).pairs(256) == [(256, 2.0), (64, 0.5)]
    assert Matryoshka((64, 256)).pairs(300) == [(256, 1.0), (64, 1.0)]
    assert Matryoshka((1,), (1e-9,)).pairs(1) == [(1, 1e-9)]


@pytest.mark.parametrize(
    ("widths", "weights", "message"),
    [
        ((), None, r"widths \[\]; expected different numbers"),
        ((8, 8), None, "expected different numbers"),
        ((8, 0), None, "of at least 1"),
        ((8, 4), (1.0,), r"weights \[1\.0\] for widths \[8, 4\]"),
        ((8, 4), (1.0, 0.0), "above 0"),
    ],
)
def test_wrong_widths(widths, weights, message):
    with pytest.raises(InputError, match=message):
        Matryoshka(widths, weights)


def test_a_width_beyond_the_vector():
    with pytest.raises(InputError, match="width 300 exceeds the vectors' 256 dimensions"):
        Matryoshka((300, 64)).pairs(256)
