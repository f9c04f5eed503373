"""The bootstrap against a naive loop over the same draws, its coverage, and what it refuses."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from bothways.evaluation.tasks.sts import correlate, spearman
from bothways.report.bootstrap import Items, draws, interval, read_items, replicates, statistic


def items_of(values, gold=None, groups=None, weights=None) -> Items:
    values = np.asarray(values, dtype=np.float64)
    groups = np.zeros(len(values), dtype=np.int64) if groups is None else np.asarray(groups)
    weights = np.full(groups.max() + 1, 1 / (groups.max() + 1)) if weights is None else np.asarray(weights)
    return Items(values, None if gold is None else np.asarray(gold, dtype=np.float64), groups, weights)


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 11, 83) / 2  # many ties, as in STS
    predicted = (gold + rng.standard_normal(83) * 2).round(1)  # some ties
    return predicted, gold


def test_rank_correlation_equals_a_naive_loop_over_the_same_draws(pairs):
    predicted, gold = pairs
    found = replicates({"m": items_of(predicted, gold)}, 300, 5, "ab12" * 16)["m"]
    picked = draws(np.zeros(len(gold), dtype=np.int64), 300, 5, "ab12" * 16)
    naive = np.array([spearman(predicted[rows], gold[rows]) for rows in picked])
    # both sum multiples of 1/4 in float64, exactly, and divide once
    assert found == pytest.approx(naive, abs=1e-12)
    assert interval(found) == pytest.approx(tuple(np.percentile(naive, [2.5, 97.5])), abs=1e-12)
    assert len(set(found.round(9))) > 250, "the draws differ"


def test_mean_equals_a_naive_loop_over_the_same_draws():
    values = np.random.default_rng(3).random(57)
    found = replicates({"m": items_of(values)}, 200, 1, "")["m"]
    picked = draws(np.zeros(57, dtype=np.int64), 200, 1, "")
    assert found == pytest.approx([values[rows].mean() for rows in picked], abs=1e-12)


def test_average_precision_equals_a_naive_loop_over_the_same_draws():
    average_precision = pytest.importorskip("sklearn.metrics").average_precision_score
    rng = np.random.default_rng(4)
    gold = rng.integers(0, 2, 61)
    cosine = (gold * 0.4 + rng.standard_normal(61)).round(1)  # ties
    stored = {"predicted": cosine.tolist(), "gold": gold.tolist(), "measure": "average_precision"}
    items = read_items({"items": stored}, average_precision(gold, cosine))
    assert items is not None and read_items({"items": stored}, average_precision(gold, cosine) + 0.01) is None
    picked = draws(items.groups, 200, 2, "")
    naive = [average_precision(gold[rows], cosine[rows]) for rows in picked]
    assert replicates({"m": items}, 200, 2, "")["m"] == pytest.approx(naive, abs=1e-12)
    # a draw without a right pair has no precision, and no reason to warn
    assert statistic(items, np.where(gold == 1, 0.0, 1.0)[None])[0] == 0.0
    assert read_items({"items": {**stored, "gold": (gold * 2).tolist()}}, average_precision(gold, cosine)) is None


@pytest.mark.parametrize("aggregation", ["mean", "wmean"])
def test_groups_are_resampled_within_and_averaged_as_the_task_does(pairs, aggregation):
    predicted, gold = pairs
    names = tuple("abc"[min(i // 20, 2)] for i in range(len(gold)))
    groups = [ord(name) - ord("a") for name in names]
    record = {"predicted": predicted.tolist(), "gold": gold.tolist(), "groups": groups, "weighting": aggregation}
    score = correlate(predicted, gold, names, aggregation)["spearman"]
    items = read_items({"items": record}, score)
    assert items is not None
    assert statistic(items, np.ones((1, len(gold))))[0] == pytest.approx(score, abs=1e-12)
    picked = draws(items.groups, 50, 0, "00")
    assert (items.groups[picked] == items.groups).all()
    naive = [correlate(predicted[rows], gold[rows], names, aggregation)["spearman"] for rows in picked]
    assert replicates({"m": items}, 50, 0, "00")["m"] == pytest.approx(naive, abs=1e-12)


def test_a_constant_side_counts_as_zero_as_in_the_task():
    gold = np.array([1.0, 2.0, 3.0])
    counts = np.array([[3.0, 0, 0], [1, 1, 1], [0, 2, 1]])
    found = statistic(items_of([5.0, 5.0, 6.0], gold), counts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        naive = [spearman([5, 5, 5], [1, 1, 1]), spearman([5, 5, 6], [1, 2, 3]), spearman([5, 5, 6], [2, 2, 3])]
    assert found == pytest.approx(naive, abs=1e-12)
    assert found[0] == 0.0


def test_models_share_their_draws_so_that_differences_are_narrow(pairs):
    predicted, gold = pairs
    rng = np.random.default_rng(9)
    close = predicted + 0.05 * rng.standard_normal(len(gold))
    both = replicates({"a": items_of(predicted, gold), "b": items_of(close, gold)}, 500, 0, "aa")
    alone = replicates({"b": items_of(close, gold)}, 500, 0, "aa")
    assert (both["b"] == alone["b"]).all(), "a model's interval does not depend on the company it keeps"
    low, high = interval(both["a"] - both["b"])
    wide_low, wide_high = interval(both["a"])
    assert high - low < 0.25 * (wide_high - wide_low)
    same = replicates({"a": items_of(predicted, gold), "b": items_of(predicted, gold)}, 100, 0, "aa")
    assert interval(same["a"] - same["b"]) == (0.0, 0.0)


def test_seed_and_task_choose_the_draws():
    groups = np.zeros(40, dtype=np.int64)
    one = draws(groups, 5, 0, "aa")
    assert (one == draws(groups, 5, 0, "aa")).all()
    assert (one != draws(groups, 5, 1, "aa")).any()
    assert (one != draws(groups, 5, 0, "bb")).any()
    assert draws(groups, 5, 0, "not hex at all").shape == (5, 40)


def test_blocks_change_nothing(pairs, monkeypatch):
    predicted, gold = pairs
    whole = replicates({"m": items_of(predicted, gold)}, 64, 0, "aa")["m"]
    monkeypatch.setattr("bothways.report.bootstrap._BLOCK", 200)  # two draws at a time
    assert (replicates({"m": items_of(predicted, gold)}, 64, 0, "aa")["m"] == whole).all()


def test_intervals_cover_the_truth():
    """Over 200 samples of a known population. A 95 % interval that held 0.95 exactly would cover
    177 to 199 of them in 99.9 % of cases; percentile intervals of small samples are a little narrow
    (Efron & Tibshirani, chapter 14), hence 90 %.
    """
    rng = np.random.default_rng(0)
    covered = {"mean": 0, "difference": 0, "rank": 0}
    # Spearman's rho of a bivariate normal of correlation r is 6 / pi * asin(r / 2)
    truth = 6 / np.pi * np.arcsin(0.3)
    for seed in range(200):
        a, b = rng.standard_normal((2, 60)) + 0.5
        both = replicates({"a": items_of(a), "b": items_of(b)}, 400, seed, "")
        low, high = interval(both["a"])
        covered["mean"] += low <= 0.5 <= high
        low, high = interval(both["a"] - both["b"])
        covered["difference"] += low <= 0.0 <= high
        x, noise = rng.standard_normal((2, 80))
        low, high = interval(replicates({"m": items_of(x, 0.6 * x + 0.8 * noise)}, 400, seed, "")["m"])
        covered["rank"] += low <= truth <= high
    assert all(180 <= count <= 199 for count in covered.values()), covered


def test_items_that_do_not_give_the_score_back_are_refused(pairs):
    predicted, gold = pairs
    stored = {"predicted": predicted.tolist(), "gold": gold.tolist()}
    score = spearman(predicted, gold)
    assert read_items({"items": stored}, score) is not None
    assert read_items({"items": stored}, score + 0.01) is None, "scored in another way"
    for broken in (None, 3, {}, {"values": []}, {"values": [1.0]}, {"values": ["a", "b"]}, {"values": [1.0, float("nan")]}):
        assert read_items({"items": broken}, 1.0) is None
    assert read_items({"items": {**stored, "gold": gold[:-1].tolist()}}, score) is None
    assert read_items({"items": {**stored, "groups": [0]}}, score) is None
    assert read_items({}, score) is None
