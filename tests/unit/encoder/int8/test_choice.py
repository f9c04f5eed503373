"""The choice of each group's form, on losses made by hand."""

import numpy as np

from bothways.encoder.int8 import choice
from bothways.encoder.int8.effects import Effects


def test_the_choice_keeps_the_group_that_costs_most():
    weights, inputs = np.array([[1e-6], [1e-6], [0.5]]), np.array([[1e-6], [0.03], [1e-6]])
    effects = Effects([["a"], ["b"], ["c"]], np.array([100, 100, 100]), weights, inputs)
    assert choice.choose(effects, 0.002, 0.01) == ["one", "two", "float32"]
    assert choice.choose(effects, 1.0, 1.0) == ["one", "one", "one"]
