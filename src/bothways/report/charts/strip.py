"""One dot per item on a common axis, a row per model: the spread of margins around zero."""

from __future__ import annotations

from collections.abc import Sequence

from bothways.report.charts.canvas import (
    WIDTH,
    Canvas,
    Scale,
    Style,
    label_width,
    padded,
    tick_text,
)
from bothways.report.markup import short_labels

_ROW = 26.0
_LABEL = 17


def strip(
    title: str, desc: str, rows: Sequence[tuple[str, Style, Sequence[float]]], *, x_label: str
) -> str:
    """Draw a strip chart from label, style and values of each row."""
    labels = short_labels([label for label, _, _ in rows], _LABEL)
    bottom = 26 + _ROW * len(rows)
    x = Scale(
        *padded([value for _, _, values in rows for value in values] + [0.0]),
        10 + label_width(labels, _LABEL),
        WIDTH - 12,
    )
    canvas = Canvas(title, desc, bottom + 38)
    canvas.text(2, 14, title, classes="title", columns=42)
    ticks = x.ticks(4)
    for tick in ticks:
        canvas.line(x(tick), 24, x(tick), bottom, "rule")
        canvas.text(x(tick), bottom + 15, tick_text(tick, ticks), anchor="middle", classes="tick")
    canvas.line(x(0), 22, x(0), bottom, "zero")
    canvas.text((x.start + x.end) / 2, bottom + 31, x_label, anchor="middle", classes="name")
    for i, ((_, style, values), label) in enumerate(zip(rows, labels)):
        middle = 24 + _ROW * (i + 0.5)
        canvas.text(2, middle + 3.8, label, classes="label")
        for j, value in enumerate(sorted(values)):
            # Five heights, so that equal values can still be counted.
            place = middle + 3.2 * (j % 5 - 2)
            canvas.add(
                f'<circle cx="{x(value):.1f}" cy="{place:.1f}" r="2.6" class="dot s{style.index % 8}"/>'
            )
    return canvas.render()
