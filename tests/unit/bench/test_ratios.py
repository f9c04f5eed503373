"""Ratios are of the same round, and their spread is numpy's quartiles."""

from __future__ import annotations

import numpy as np
import pytest

from bothways.bench.ratios import Spread, Timed


def test_figures_follow_numpy() -> None:
    generator = np.random.default_rng(0)
    own, other = generator.uniform(1, 2, (7, 5)), generator.uniform(2, 4, (7, 5))
    found = Timed(other.tolist()).figures(Timed(own.tolist()), tokens=50, each=True)
    ratios = other.sum(1) / own.sum(1)
    expected = {"median": np.median(ratios), "low": np.quantile(ratios, 0.25), "high": np.quantile(ratios, 0.75)}
    assert found["ratio"] == pytest.approx(expected)
    assert found["tokens_per_second"]["median"] == pytest.approx(np.median(50 / other.sum(1)))
    assert found["p50"] == pytest.approx(1e3 * np.quantile(other, 0.5))
    assert found["p99"] == pytest.approx(1e3 * np.quantile(other, 0.99))
    assert found["seconds"] == pytest.approx(other.sum(1).tolist())


def test_a_slow_minute_does_not_change_the_ratio() -> None:
    """Both run at a tenth of the speed in the second round."""
    own, other = Timed([[1.0], [10.0], [1.0]]), Timed([[2.0], [20.0], [2.0]])
    found = other.figures(own, tokens=1, each=False)
    assert found["ratio"] == {"median": 2.0, "low": 2.0, "high": 2.0}
    assert "p50" not in found


def test_one_value_has_no_spread() -> None:
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)
