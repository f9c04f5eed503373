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


def small() -> Effects:
    groups = [["a"], ["b"], ["c"]]
    return Effects(groups, np.array([100] * 3), np.full((3, 1), 1e-5), np.array([[1e-3], [2e-3], [4e-3]]))


def test_other_costs_offer_their_forms_alone():
    weights, inputs = np.array([[0.5], [1e-6]]), np.array([[1e-6], [0.5]])
    effects = Effects([["a"], ["b"]], np.array([100] * 2), weights, inputs)
    assert choice.choose(effects, 0.002, 0.01, {"one": 1.0, "two": 2.0, "float32": 3.0}) == ["float32", "two"]
    assert choice.choose(effects, 0.002, 0.01, {"one": 1.0, "float32": 3.0}) == ["float32", "float32"]


def test_tries_go_on_until_the_vectors_are_kept():
    tried = []

    def cosines(held):
        kept = sum(form != "one" for form in tried[-1])
        return np.array([1 - 0.004 + 0.002 * kept if held else 1.0])

    forms, found = choice.settle(small(), tried.append, cosines, {"one": 1.0, "two": 2.0})
    assert forms == tried[-1] and found.min() >= choice.MEAN
    assert len(tried) == len({tuple(each) for each in tried}), "no choice is tried twice"


def test_tries_end():
    tried = []
    forms, found = choice.settle(small(), tried.append, lambda held: np.array([0.5]), {"one": 1.0, "two": 2.0})
    assert forms == tried[-1] and found.tolist() == [0.5] and len(tried) <= 8
