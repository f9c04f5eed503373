"""Draws of a row's texts, and tables of unequal rows."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.losses.false_negatives import NONE
from bothways.objectives.supervised_rows import Drawn, check_texts, draw, padded_table, teacher_scores

ROW = Example("q", ("a", "b"), ("c", "d", "e"), (1.0, 2.0), (0.1, 0.2, 0.3))


def test_every_positive_and_every_set_of_negatives_is_drawn():
    generator = torch.Generator().manual_seed(0)
    drawn = [draw(ROW, 2, generator) for _ in range(300)]
    assert Counter(one.positive for one in drawn).keys() == {0, 1}
    assert {frozenset(one.negatives) for one in drawn} == {frozenset(pair) for pair in ((0, 1), (0, 2), (1, 2))}
    assert draw(ROW, 5, generator).negatives == [0, 1, 2]
    assert draw(ROW, 0, generator).negatives == []


def test_scores_follow_the_draws_and_are_nan_without_a_teacher():
    bare = Example("q", ("a",), ("c",))
    found = teacher_scores([(ROW, Drawn(1, [2, 0])), (bare, Drawn(0, [0]))])
    assert found.positive[0] == 2.0
    torch.testing.assert_close(found.negative[:2], torch.tensor([0.3, 0.1]))
    assert bool(found.positive[1].isnan()) and bool(found.negative[2].isnan())


def test_tables_are_filled():
    assert padded_table([[1, 2], [3]]).tolist() == [[1, 2], [3, NONE]]
    assert padded_table([[], []], 2).tolist() == [[NONE, NONE], [NONE, NONE]]


def test_items_that_are_not_examples_of_texts_are_refused():
    with pytest.raises(InputError, match=r"examples\[1\]: expected an Example \(got str\)"):
        check_texts([ROW, "a text"])
    with pytest.raises(InputError, match=r"examples\[0\]: holds a int in the place of a text"):
        check_texts([Example("q", (1,))])
