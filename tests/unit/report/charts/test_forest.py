"""A forest plot marks the differences that are more than chance."""

from __future__ import annotations

import re

from bothways.report.charts.canvas import Style
from bothways.report.charts.forest import ForestRow, forest


def test_forest_marks_what_leaves_zero_out() -> None:
    rows = [
        ForestRow("clear", Style(0), 2.0, (1.0, 3.0)),
        ForestRow("chance", Style(1), 0.5, (-1.0, 2.0)),
        ForestRow("unknown", Style(2), 1.0, None),
    ]
    chart = forest("t", "d", rows, difference=True)
    assert re.findall(r'class="(mark s\d(?: hollow)?)"', chart) == ["mark s0", "mark s1 hollow", "mark s2"]
    assert chart.count("whisker") == 2
    assert "clear: +2.0, 95 % interval +1.0 to +3.0" in chart
