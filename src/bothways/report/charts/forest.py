"""Scores or differences with their intervals, one row per model (a forest plot).

A filled mark is a score, or a difference with an interval that excludes zero. A hollow mark is a
difference that chance could explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bothways.report.charts.canvas import (
    WIDTH,
    Canvas,
    Scale,
    Style,
    label_width,
    padded,
    tick_text,
)
from bothways.report.markup import number, short_labels

_ROW = 22.0
_LABEL = 17


@dataclass(frozen=True)
class ForestRow:
    """One mark: its value and, if there is one, its interval."""

    label: str
    style: Style
    value: float
    interval: tuple[float, float] | None


def forest(
    title: str, desc: str, rows: Sequence[ForestRow], *, difference: bool, decimals: int = 1
) -> str:
    """Draw a forest plot.

    Args:
        title: its name, shown above it and read by screen readers.
        desc: its content in words, for screen readers.
        rows: at least one row.
        difference: if True, rows are differences: zero is drawn, and values have a sign.
        decimals: decimals of the printed values.
    """
    labels = short_labels([row.label for row in rows], _LABEL)
    values = [end for row in rows for end in (row.interval or (row.value, row.value))] + [
        row.value for row in rows
    ]
    low, high = padded([*values, 0.0] if difference else values, 0.08)
    height = 34 + _ROW * len(rows) + 26
    x = Scale(low, high, 10 + label_width(labels, _LABEL), WIDTH - 52)
    bottom = 30 + _ROW * len(rows)
    canvas = Canvas(title, desc, height)
    canvas.text(2, 14, title, classes="title", columns=42)
    ticks = x.ticks(4)
    for tick in ticks:
        canvas.line(x(tick), 26, x(tick), bottom, "rule")
        canvas.text(x(tick), bottom + 15, tick_text(tick, ticks), anchor="middle", classes="tick")
    if difference:
        canvas.line(x(0), 24, x(0), bottom, "zero")
    for i, (row, label) in enumerate(zip(rows, labels)):
        middle = 26 + _ROW * (i + 0.5)
        canvas.text(2, middle + 3.8, label, classes="label")
        hollow = False
        shown = number(row.value, decimals, sign=difference)
        told = f"{row.label}: {shown}"
        if row.interval is not None:
            first, last = row.interval
            canvas.line(x(first), middle, x(last), middle, f"whisker s{row.style.index % 8}")
            hollow = difference and first <= 0 <= last
            told += f", 95 % interval {number(first, decimals, sign=difference)} to {number(last, decimals, sign=difference)}"
        canvas.mark(x(row.value), middle, row.style, hollow=hollow, tip=told)
        canvas.text(WIDTH - 4, middle + 3.8, shown, anchor="end", classes="value")
    return canvas.render()
