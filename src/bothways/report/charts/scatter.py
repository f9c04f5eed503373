"""The map of alignment and uniformity: one labeled mark per model.

Wang & Isola 2020, drawn as in SimCSE, figure 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bothways.report.charts.canvas import LETTER, WIDTH, Canvas, Scale, Style, frame, padded
from bothways.report.markup import short_labels, width

_LABEL = 18
_HEIGHT = 316.0


@dataclass(frozen=True)
class Point:
    """The position of one model."""

    label: str
    style: Style
    uniformity: float
    alignment: float


def lens(title: str, desc: str, points: Sequence[Point]) -> str:
    """Draw the map. Both measures are good at the lower left."""
    x = Scale(*padded([point.uniformity for point in points], 0.14), 46, WIDTH - 14)
    y = Scale(*padded([point.alignment for point in points], 0.16), _HEIGHT - 42, 48)
    canvas = Canvas(title, desc, _HEIGHT)
    canvas.text(2, 14, title, classes="title", columns=42)
    frame(
        canvas,
        x,
        y,
        x_label="uniformity   (← more spread out)",
        y_label="alignment   (↓ pairs closer)",
    )
    labels = short_labels([point.label for point in points], _LABEL)
    marks = [(x(point.uniformity), y(point.alignment)) for point in points]
    taken = [(a - 6, b - 6, a + 6, b + 6) for a, b in marks]
    for point, label, (a, b) in zip(points, labels, marks):
        tip = f"{point.label}: uniformity {point.uniformity:.3f}, alignment {point.alignment:.3f}"
        canvas.mark(a, b, point.style, tip=tip)
        box, far = _place(a, b, LETTER * width(label), taken)
        taken.append(box)
        if far:
            canvas.line(
                a,
                b,
                min(max(a, box[0]), box[2]),
                (box[1] + box[3]) / 2,
                f"leader s{point.style.index % 8}",
            )
        to_the_left = box[2] < a
        canvas.text(
            box[2] if to_the_left else box[0],
            box[3] - 3,
            label,
            anchor="end" if to_the_left else "start",
            classes="label",
        )
    return canvas.render()


Box = tuple[float, float, float, float]


def _place(x: float, y: float, wide: float, taken: Sequence[Box]) -> tuple[Box, bool]:
    """Find the nearest free place for a label of (x, y), and tell if it needs a leader line."""
    candidates: list[tuple[float, float, bool]] = []
    for step in range(9):
        away = 8 + 14 * step
        for dx, dy in (
            (8, -6.5),
            (-8 - wide, -6.5),
            (-wide / 2, -away - 12),
            (-wide / 2, away),
            (8, away - 6.5),
            (-8 - wide, away - 6.5),
        ):
            candidates.append((x + dx, y + dy, step > 0))
        candidates += [(x + 8, y - away - 6.5, True), (x - 8 - wide, y - away - 6.5, True)]
    for left, top, far in candidates:
        box = (left, top, left + wide, top + 13)
        inside = left >= 47 and box[2] <= WIDTH - 2 and top >= 48 and box[3] <= _HEIGHT - 43
        if inside and not any(_overlap(box, other) for other in taken):
            return box, far
    left = min(max(x + 8, 47), WIDTH - 2 - wide)
    return (left, y - 6.5, left + wide, y + 6.5), False


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
