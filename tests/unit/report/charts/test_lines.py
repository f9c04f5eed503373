"""Lines keep their ends, and one point is a line too."""

from __future__ import annotations

from bothways.report.charts.canvas import Style
from bothways.report.charts.lines import Series, lines, thin


def test_lines_keep_ends_and_survive_one_point() -> None:
    points = [(float(i), float(i * i)) for i in range(10_000)]
    thinned = thin(points)
    assert thinned[0] == points[0]
    assert thinned[-1] == points[-1]
    assert len(thinned) == 180
    chart = lines("t", "d", [Series("m", Style(9), [(5.0, 2.0)])], x_label="x", y_label="y")
    assert "NaN" not in chart
    assert 'class="line s1 d1"' in chart
