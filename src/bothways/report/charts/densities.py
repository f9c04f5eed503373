"""Densities of cosine by gold score (SimCSE, appendix): one ridge per bin of gold scores.

The most similar pairs are on top. A good encoder's ridges move to the right from bottom to top. A
collapsed encoder has them all in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bothways.report.charts.canvas import WIDTH, Canvas, Scale, tick_text
from bothways.report.charts.colors import level

_ROW = 34.0


@dataclass(frozen=True)
class Ridge:
    """One bin of gold scores: its name, K + 1 edges of cosine and K counts."""

    name: str
    edges: Sequence[float]
    counts: Sequence[float]

    @property
    def total(self) -> float:
        """The number of pairs in the bin."""
        return sum(self.counts)

    def densities(self) -> list[float]:
        """Compute the share of the bin's pairs per unit of cosine, (K,)."""
        total = self.total or 1.0
        return [
            count / total / (b - a) if b > a else 0.0
            for count, a, b in zip(self.counts, self.edges, self.edges[1:])
        ]


def ridges(title: str, desc: str, rows: Sequence[Ridge], *, low: float, high: float) -> str:
    """Draw a ridge plot.

    `rows` go from low gold scores to high. `low` and `high` are the ends of the cosine axis.
    """
    left = 60.0
    height = 40 + _ROW * (len(rows) + 0.6) + 38
    x = Scale(low, high, left, WIDTH - 50)
    canvas = Canvas(title, desc, height)
    canvas.text(2, 14, title, classes="title", columns=42)
    bottom = 40 + _ROW * (len(rows) + 0.6)
    ticks = x.ticks(5)
    for tick in ticks:
        canvas.line(x(tick), 26, x(tick), bottom, "rule")
        canvas.text(x(tick), bottom + 15, tick_text(tick, ticks), anchor="middle", classes="tick")
    canvas.text((x.start + x.end) / 2, bottom + 31, "cosine", anchor="middle", classes="name")
    canvas.text(2, 34, "gold", classes="name")
    canvas.text(WIDTH - 4, 34, "pairs", anchor="end", classes="name")
    highest = max((value for row in rows for value in row.densities()), default=1.0) or 1.0
    for place, row in enumerate(reversed(rows)):
        base = bottom - _ROW * (len(rows) - 1 - place) - 4
        outline = [(x(row.edges[0]), base)]
        for value, a, b in zip(row.densities(), row.edges, row.edges[1:]):
            rise = base - 1.55 * _ROW * value / highest
            outline += [(x(a), rise), (x(b), rise)]
        outline.append((x(row.edges[-1]), base))
        share = (len(rows) - 1 - place) / max(1, len(rows) - 1)
        steps = "L".join(f"{a:.1f} {b:.1f}" for a, b in outline)
        canvas.add(f'<path d="M{steps}Z" fill="{level(0.12 + 0.8 * share)}" class="ridge"/>')
        canvas.line(x.start, base, x.end, base, "axis")
        canvas.text(2, base - 2, row.name, classes="label", columns=9)
        canvas.text(WIDTH - 4, base - 2, f"{row.total:,.0f}", anchor="end", classes="tick")
    return canvas.render()
