"""Scales, ticks, and labels that do not touch."""

from __future__ import annotations

import numpy as np
import pytest

from bothways.report.charts.canvas import Scale, spread, tick_text


def test_scales_and_ticks() -> None:
    x = Scale(10, 20, 100, 300)
    assert [x(10), x(15), x(20), x(99)] == [100, 200, 300, 300]
    assert Scale(0.01, 1, 0, 100, log=True)(0.1) == pytest.approx(50)
    assert Scale(0, 0.97, 0, 1).ticks(5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert Scale(-12, 31, 0, 1).ticks(5) == [-10, 0, 10, 20, 30]
    assert Scale(1e-4, 1, 0, 1, log=True).ticks(5) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert Scale(0.1, 1, 0, 1, log=True).ticks(5) == pytest.approx([0.1, 0.2, 0.5, 1])
    assert Scale(3, 3, 0, 1).ticks() == [3]
    for low, high in np.random.default_rng(0).normal(0, 1000, (200, 2)):
        ticks = Scale(min(low, high), max(low, high), 0, 1).ticks(5)
        assert 2 <= len(ticks) <= 6
        assert len({tick_text(tick, ticks) for tick in ticks}) == len(ticks)
    assert tick_text(20000, [0, 10000, 20000]) == "20k"
    assert tick_text(0.025, [0, 0.025, 0.05]) == "0.025"


def test_labels_are_moved_apart_and_no_further() -> None:
    rng = np.random.default_rng(0)
    for count in range(1, 12):
        places = rng.uniform(30, 200, count).tolist()
        moved = spread(places, 13, 30, 200)
        assert min(moved) >= 30 - 1e-9
        assert max(moved) <= 200 + 1e-9
        assert np.diff(sorted(moved)).min(initial=99) >= 13 - 1e-9
        assert np.argsort(moved, kind="stable").tolist() == np.argsort(places, kind="stable").tolist()
    assert spread([50, 100, 150], 13, 30, 200) == [50, 100, 150]
    assert spread([100, 100], 10, 0, 200) == [95, 105]
    assert np.diff(spread([5.0] * 30, 13, 0, 100)).min() > 0, "too many labels share the room"
