"""Lines over a common axis, labeled at their ends: training curves, singular-value spectra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bothways.report.charts.canvas import (
    WIDTH,
    Canvas,
    Scale,
    Style,
    frame,
    label_width,
    padded,
    spread,
)
from bothways.report.markup import short_labels

# More points than this cannot be distinguished at this width. They are thinned, and the first and
# last are kept.
_POINTS = 180
_LABEL = 15


@dataclass(frozen=True)
class Series:
    """One line: points in ascending x. With `dots`, each is marked (few, measured ones)."""

    label: str
    style: Style
    points: Sequence[tuple[float, float]]
    dots: bool = False


def lines(
    title: str,
    desc: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    log_y: bool = False,
    y_range: tuple[float, float] | None = None,
    height: float = 250.0,
) -> str:
    """Draw a line chart with at least one point."""
    ys = [y for each in series for _, y in each.points]
    xs = [x for each in series for x, _ in each.points]
    labels = short_labels([each.label for each in series], _LABEL)
    low, high = y_range or ((min(ys), max(ys)) if log_y else padded(ys))
    y = Scale(low, high, height - 42, 48, log=log_y)
    x_low, x_high = min(xs), max(xs)
    x = Scale(
        x_low, x_high if x_high > x_low else x_low + 1, 46, WIDTH - 12 - label_width(labels, _LABEL)
    )
    canvas = Canvas(title, desc, height)
    canvas.text(2, 14, title, classes="title", columns=42)
    frame(canvas, x, y, x_label=x_label, y_label=y_label)
    ends = []
    for each in series:
        points = [(x(a), y(b)) for a, b in thin(each.points)]
        canvas.path(points, f"line {each.style.classes}")
        if each.dots or len(points) == 1:
            for (place_x, place_y), (a, b) in zip(points, thin(each.points)):
                canvas.mark(place_x, place_y, each.style, tip=f"{each.label}: {b:.4g} at {a:g}")
        ends.append(points[-1])
    for label, each, (end_x, end_y), label_y in zip(
        labels, series, ends, spread([end for _, end in ends], 13, 46, height - 42)
    ):
        canvas.line(end_x + 3, end_y, x.end + 6, label_y, f"leader s{each.style.index % 8}")
        canvas.text(x.end + 8, label_y + 3.8, label, classes="label")
    return canvas.render()


def thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Select at most `_POINTS` points, evenly spaced."""
    if len(points) <= _POINTS:
        return list(points)
    last = len(points) - 1
    chosen = sorted({round(i * last / (_POINTS - 1)) for i in range(_POINTS)})
    return [points[i] for i in chosen]
