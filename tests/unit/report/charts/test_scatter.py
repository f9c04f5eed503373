"""Labels of a scatter plot do not hide each other."""

from __future__ import annotations

import re

from bothways.report.charts.canvas import Style
from bothways.report.charts.scatter import Point, lens


def test_ten_models_in_one_place_still_have_labels() -> None:
    points = [Point(f"model number {i}", Style(i), -2.0, 0.3) for i in range(10)]
    chart = lens("t", "d", points)
    places = re.findall(r'<text x="([-\d.]+)" y="([-\d.]+)" text-anchor="\w+" class="label">', chart)
    assert len(set(places)) == 10
