"""Measures of predicted classes, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bothways.evaluation.measures.classifiers import few_per_class, logistic_predictions, scores_of


def test_measures_by_hand():
    gold, predicted = np.array([1, 1, 1, 0]), np.array([1, 0, 1, 1])
    scores = scores_of(gold, predicted)
    assert scores["accuracy"] == 0.5
    # class 1: precision 2/3, recall 2/3; class 0: nothing right
    assert scores["f1"] == pytest.approx(1 / 3, abs=1e-12)
    assert scores["f1_weighted"] == pytest.approx(0.75 * 2 / 3, abs=1e-12)
    # threshold 1: precision 2/3 at recall 2/3; threshold 0: precision 3/4 at recall 1
    assert scores["ap"] == pytest.approx(2 / 3 * 2 / 3 + 1 / 3 * 3 / 4, abs=1e-12)


def test_the_first_rows_of_each_class_are_taken_in_the_order_given():
    numbers = np.array([0, 1, 0, 2, 1, 0])
    assert few_per_class([5, 4, 3, 2, 1, 0], numbers, 2).tolist() == [5, 4, 3, 2, 1]
    assert few_per_class([0, 1, 2], numbers, 1).tolist() == [0, 1]


def test_a_regression_that_converges_says_so_and_separates_what_is_separable():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 90)
    vectors = np.eye(3)[classes] + rng.normal(0, 0.05, (90, 3))
    predicted, done = logistic_predictions(vectors[:60], classes[:60], vectors[60:])
    assert done and (predicted == classes[60:]).all()
    wild = rng.normal(0, 1, (60, 40)) * np.logspace(0, 5, 40)
    assert not logistic_predictions(wild, rng.integers(0, 3, 60), wild)[1], "100 steps are not enough"
