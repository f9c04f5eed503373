"""Ridges: shares per unit of cosine, low gold scores at the bottom, one scale for all rows."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bothways.report.charts.densities import Ridge, ridges


def test_densities_are_those_of_numpy() -> None:
    cosines = np.random.default_rng(0).normal(0.5, 0.2, 300)
    counts, edges = np.histogram(cosines, [-1, 0, 0.2, 0.5, 0.6, 2])  # cells of unlike widths
    ridge = Ridge("0-1", edges.tolist(), counts.tolist())
    assert ridge.total == 300
    assert ridge.densities() == pytest.approx(np.histogram(cosines, edges, density=True)[0], rel=1e-12)


def test_an_empty_bin_and_a_cell_without_width_have_no_density() -> None:
    assert Ridge("none", [0, 0.5, 1], [0, 0]).densities() == [0, 0]
    assert Ridge("point", [0, 0, 1], [5, 5]).densities() == [0, 0.5]


def test_the_highest_density_of_all_rows_is_the_highest_ridge() -> None:
    rows = [Ridge("low", [0, 0.5, 1], [1, 1]), Ridge("high", [0, 0.5, 1], [0, 8])]
    chart = ridges("t", "d", rows, low=0, high=1)
    outlines = [
        [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", path)]
        for path in re.findall(r'<path d="M([^"]+)Z" fill="#\w+" class="ridge"/>', chart)
    ]
    high, low = ([outline[0] - y for y in outline] for outline in outlines)  # drawn from the top
    assert outlines[0][0] < outlines[1][0], "high gold scores are on top"
    # densities 1 and 1 in one row, 0 and 2 in the other
    assert [value / max(high) for value in high] == pytest.approx([0, 0, 0, 1, 1, 0], abs=0.01)
    assert [value / max(high) for value in low] == pytest.approx([0, 0.5, 0.5, 0.5, 0.5, 0], abs=0.01)
    assert re.findall(r">(\d+)</text>", chart)[-2:] == ["8", "2"], "the number of pairs is next to each ridge"
