"""The choice of each group's form, on losses made by hand."""

import numpy as np
import pytest

from bothways.encoder.int8 import choice
from bothways.encoder.int8.effects import Effects


@pytest.mark.parametrize(
    ("levels", "forms"),
    [(127, ["one", "two", "weights", "both"]), (63, ["one", "two", "float32", "float32"])],
)
def test_the_choice_improves_the_groups_that_cost_most(monkeypatch, levels, forms):
    """Without VNNI, float32 takes less time than two products in 8 bits."""
    monkeypatch.setattr(choice, "kernel_levels", lambda: levels)
    weights = np.array([[1e-6], [1e-6], [0.5], [0.4]])
    inputs = np.array([[1e-6], [0.03], [1e-6], [0.4]])
    effects = Effects([["a"], ["b"], ["c"], ["d"]], np.array([100] * 4), weights, inputs)
    assert choice.choose(effects, 0.002, 0.01) == forms
    assert choice.choose(effects, 10.0, 10.0) == ["one"] * 4


def test_it_ends_if_nothing_helps():
    """A loss below zero of rounding errors must not be improved for ever."""
    effects = Effects([["a"]], np.array([100]), np.array([[0.0]]), np.array([[0.0]]))
    assert choice.choose(effects, -1.0, -1.0) == ["one"]
