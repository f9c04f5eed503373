"""Matrices as colors: layer × token cosines (LLM2Vec, figure 5), passkey accuracies.

Cells of one color are one path, so 32 layers × 100 tokens take kilobytes, not hundreds of them. If
there are few large cells, they show their numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bothways.report.charts.canvas import LETTER, WIDTH, Canvas, label_width, tick_text
from bothways.report.charts.colors import dark_ink, level
from bothways.report.markup import clip, number, width

# Number of shades that the eye can distinguish on a small cell.
_SHADES = 32
_LABEL = 14


class Axis(NamedTuple):
    """The rows or the columns of a map: their meaning, and a label for each."""

    name: str
    labels: Sequence[str]


def heatmap(
    title: str,
    desc: str,
    matrix: Sequence[Sequence[float | None]],
    *,
    rows: Axis,
    columns: Axis,
    low: float = 0.0,
    high: float = 1.0,
    cell: tuple[float, float] | None = None,
    numbers: bool = False,
) -> str:
    """Draw a heat map. None leaves a cell empty.

    Args:
        title: shown above it.
        desc: its content in words, for screen readers.
        matrix: one list per row, top to bottom.
        rows: name and labels of the rows. If there are too many labels, some are left out.
        columns: name and labels of the columns.
        low: value of the darkest color.
        high: value of the lightest color.
        cell: width and height in units. If None, cells fill `WIDTH`.
        numbers: if True, print each value as a percentage in its cell.
    """
    left = 12 + max(label_width(rows.labels, _LABEL), 26)
    wide, tall = cell or ((WIDTH - left - 6) / max(1, len(columns.labels)), 26.0)
    turned = any(width(clip(name, _LABEL)) * LETTER > wide - 4 for name in columns.labels)
    foot = (label_width(columns.labels, _LABEL) + 12) if turned else 18.0
    top = 62.0
    right = max(WIDTH, left + wide * len(columns.labels) + 6)
    bottom = top + tall * len(matrix)
    canvas = Canvas(title, desc, bottom + foot + 20, wide=right)
    canvas.text(2, 14, title, classes="title", columns=42)
    _legend(canvas, left, low, high)
    canvas.text(2, top - 8, rows.name, classes="name")
    _cells(canvas, matrix, left, top, wide, tall, low, high, numbers=numbers)
    every = max(1, -(-12 // int(max(1.0, tall))))
    for i, name in enumerate(rows.labels):
        if (len(rows.labels) - 1 - i) % every == 0:
            canvas.text(
                left - 5,
                top + tall * (i + 0.5) + 3.8,
                name,
                anchor="end",
                classes="tick",
                columns=_LABEL,
            )
    for i, name in enumerate(columns.labels):
        x = left + wide * (i + 0.5)
        if turned:
            canvas.text(
                x + 3.5, bottom + 6, name, anchor="end", classes="tick", columns=_LABEL, turn=-90
            )
        else:
            canvas.text(x, bottom + 15, name, anchor="middle", classes="tick", columns=_LABEL)
    canvas.text(left, bottom + foot + 14, columns.name, classes="name")
    return canvas.render()


def _cells(
    canvas: Canvas,
    matrix: Sequence[Sequence[float | None]],
    left: float,
    top: float,
    wide: float,
    tall: float,
    low: float,
    high: float,
    *,
    numbers: bool,
) -> None:
    shades: dict[int, list[str]] = {}
    texts = []
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            if value is None:
                continue
            share = (value - low) / (high - low) if high > low else 0.5
            shade = min(max(int(share * _SHADES), 0), _SHADES - 1)
            x, y = left + wide * j, top + tall * i
            shades.setdefault(shade, []).append(
                f"M{x:.1f} {y:.1f}h{wide:.1f}v{tall:.1f}h-{wide:.1f}z"
            )
            if numbers:
                place = f'x="{x + wide / 2:.1f}" y="{y + tall / 2 + 3.8:.1f}"'
                ink = "black" if dark_ink((shade + 0.5) / _SHADES) else "white"
                texts.append(
                    f'<text {place} text-anchor="middle" class="{ink}">{number(100 * value, 0)}</text>'
                )
    for shade, cells in sorted(shades.items()):
        canvas.add(
            f'<path d="{"".join(cells)}" fill="{level((shade + 0.5) / _SHADES)}" class="cells"/>'
        )
    for text in texts:
        canvas.add(text)


def _legend(canvas: Canvas, left: float, low: float, high: float) -> None:
    """Draw the colors with their values above the cells."""
    step, y = 3.0, 26.0
    for shade in range(_SHADES):
        # Each rectangle reaches under the next one, so that no gap shows between them.
        wide = step * (2 if shade < _SHADES - 1 else 1)
        canvas.add(
            f'<rect x="{left + step * shade:.1f}" y="{y}" width="{wide:.1f}" height="9" fill="{level((shade + 0.5) / _SHADES)}"/>'
        )
    canvas.text(left - 5, y + 8.5, tick_text(low, [low, high]), anchor="end", classes="tick")
    canvas.text(left + step * _SHADES + 5, y + 8.5, tick_text(high, [low, high]), classes="tick")
