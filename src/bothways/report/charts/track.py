"""One example on a line: the gold score, and the positions that two models give it."""

from __future__ import annotations

from collections.abc import Sequence

from bothways.report.charts.canvas import Canvas, Scale, Style

_WIDE = 330.0


def track(
    title: str,
    desc: str,
    models: Sequence[tuple[Style, float, str]],
    *,
    gold: float | None,
    ends: tuple[str, str],
) -> str:
    """Draw a line from 0 to 1 with a mark per model and a post at the true place.

    A line leads from the first mark to the last.

    Args:
        title: name of the example, for screen readers.
        desc: its content in words, for screen readers.
        models: style, place in [0, 1] and tooltip of each model.
        gold: the true place. None if more is simply better.
        ends: meaning of the two ends.
    """
    canvas = Canvas(title, desc, 40, wide=_WIDE)
    x = Scale(0.0, 1.0, 8, _WIDE - 8)
    canvas.line(x.start, 16, x.end, 16, "axis")
    if gold is not None:
        canvas.line(x(gold), 5, x(gold), 27, "gold")
    if len(models) > 1:
        canvas.line(
            x(models[0][1]), 16, x(models[-1][1]), 16, f"whisker s{models[-1][0].index % 8}"
        )
    for i, (style, place, tip) in enumerate(models):
        canvas.mark(x(place), 16, style, tip=tip, hollow=i < len(models) - 1)
    canvas.text(x.start - 6, 38, ends[0], classes="tick")
    canvas.text(x.end + 6, 38, ends[1], anchor="end", classes="tick")
    return canvas.render()
