"""A heat map puts each value into its cell."""

from __future__ import annotations

import re

from bothways.report.charts.colors import level
from bothways.report.charts.heatmap import Axis, heatmap


def test_heatmap_puts_each_value_into_its_cell() -> None:
    chart = heatmap(
        "t", "d", [[0.0, 1.0], [None, 0.5]], rows=Axis("r", ["a", "b"]), columns=Axis("c", ["x", "y"]), numbers=True
    )
    cells = {}
    for path, fill in re.findall(r'<path d="([^"]+)" fill="(#\w+)" class="cells"/>', chart):
        for x, y in re.findall(r"M([\d.]+) ([\d.]+)h", path):
            cells[float(x), float(y)] = fill
    (top, bottom), (left, right) = sorted({y for _, y in cells}), sorted({x for x, _ in cells})
    assert len(cells) == 3
    assert cells[left, top] == level(0.5 / 32)
    assert cells[right, top] == level(31.5 / 32)
    assert cells[right, bottom] == level(16.5 / 32)
    assert re.findall(r'class="(?:black|white)">(\d+)<', chart) == ["0", "100", "50"]
