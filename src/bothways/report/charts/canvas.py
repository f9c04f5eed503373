"""The basis of all charts: a canvas of SVG elements, scales with round ticks, axes and labels.

Charts are 360 units wide, the width of a phone. There a unit is a pixel and text has its normal
size, and a large screen shows several side by side instead of stretching one. Colors are classes
(`s0` … of style.css), so that light and dark mode have their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bothways.report.markup import clip, esc, number, width

WIDTH = 360.0
# Units per column of 11-unit text, a little more than most fonts need.
LETTER = 6.3
SERIES = 8


@dataclass(frozen=True)
class Style:
    """The look of one model in every chart: a color, and a dash and mark after the last color."""

    index: int

    @property
    def classes(self) -> str:
        """The CSS classes of color and dash, `s0 d0`, for lines and marks."""
        return f"s{self.index % SERIES} d{self.index // SERIES % 4}"


class Canvas:
    """Collects elements. `render` gives the `<svg>`."""

    def __init__(self, title: str, desc: str, height: float, *, wide: float = WIDTH) -> None:
        self.title, self.desc, self.height, self.wide = title, desc, height, wide
        self.parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        anchor: str = "start",
        classes: str = "",
        columns: int | None = None,
        turn: float = 0,
    ) -> None:
        """Add a label, rotated by `turn` degrees around its position.

        If it is clipped to `columns`, the tooltip holds the whole text.
        """
        shown = text if columns is None else clip(text, columns)
        full = f"<title>{esc(text)}</title>" if shown != text else ""
        rotated = f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
        chosen = f' class="{classes}"' if classes else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{chosen}{rotated}>{full}{esc(shown)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, classes: str) -> None:
        """Add a straight line."""
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{classes}"/>'
        )

    def path(
        self, points: Sequence[tuple[float, float]], classes: str, *, close: bool = False
    ) -> None:
        """Add a polyline or, if closed, an area."""
        if points:
            steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            self.parts.append(f'<path d="M{steps}{"Z" if close else ""}" class="{classes}"/>')

    def mark(
        self, x: float, y: float, style: Style, *, hollow: bool = False, tip: str = ""
    ) -> None:
        """Add a dot, square, diamond or triangle. The shape changes after the last color."""
        shape = style.index // SERIES % 4
        classes = f"mark s{style.index % SERIES}{' hollow' if hollow else ''}"
        inside = f"<title>{esc(tip)}</title>" if tip else ""
        r = 4.2
        if shape == 0:
            self.parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" class="{classes}">{inside}</circle>'
            )
            return
        corners = {
            1: ((-r, -r), (r, -r), (r, r), (-r, r)),
            2: ((0, -r - 1.4), (r + 1.4, 0), (0, r + 1.4), (-r - 1.4, 0)),
            3: ((0, -r - 1), (r + 1, r), (-r - 1, r)),
        }[shape]
        steps = "L".join(f"{x + dx:.1f} {y + dy:.1f}" for dx, dy in corners)
        self.parts.append(f'<path d="M{steps}Z" class="{classes}">{inside}</path>')

    def add(self, markup: str) -> None:
        """Add an element that was built elsewhere."""
        self.parts.append(markup)

    def render(self) -> str:
        """Render the whole chart."""
        return (
            f'<svg viewBox="0 0 {self.wide:g} {self.height:g}" role="img" class="chart"><title>{esc(self.title)}</title>'
            f"<desc>{esc(self.desc)}</desc>{''.join(self.parts)}</svg>"
        )


@dataclass(frozen=True)
class Scale:
    """Maps values to units along one axis. With `log` it is logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the position of a value. Values outside the range go to its ends."""
        low, high, at = (
            (math.log10(x) for x in (self.low, self.high, max(value, self.low)))
            if self.log
            else (self.low, self.high, value)
        )
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Choose round values inside the range.

        They are multiples of 1, 2, 2.5 or 5 times a power of ten. On a log axis they are decades,
        or 1, 2 and 5 times decades if those are few.
        """
        if self.log:
            first, last = (
                math.ceil(math.log10(self.low) - 1e-9),
                math.floor(math.log10(self.high) + 1e-9),
            )
            if last - first < 2:  # decades alone would leave the axis bare
                fine = [
                    factor * 10.0**power
                    for power in range(first - 1, last + 1)
                    for factor in (1, 2, 5)
                ]
                return [value for value in fine if self.low * 0.999 <= value <= self.high * 1.001]
            every = max(1, math.ceil((last - first + 1) / count))
            return [10.0**exponent for exponent in range(first, last + 1, every)]
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        raw = span / max(1, count)
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(
            power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999
        )
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def tick_text(value: float, ticks: Sequence[float]) -> str:
    """Write a tick's number with enough decimals to distinguish the ticks, and thousands as k."""
    if value and abs(value) < 1e-3:
        return f"1e{round(math.log10(abs(value)))}".replace("-", "\N{MINUS SIGN}")
    if max(abs(tick) for tick in ticks) >= 10_000:
        return (
            f"{number(value / 1000, 0 if all(tick % 1000 == 0 for tick in ticks) else 1)}k"
            if value
            else "0"
        )
    steps = [abs(b - a) for a, b in pairwise(ticks)] or [abs(value) or 1.0]
    decimals = next(
        (
            d
            for d in range(4)
            if all(abs(round(step, d) - step) < 1e-9 * max(1.0, step) for step in steps)
        ),
        3,
    )
    return number(value, decimals)


def padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """Return the range of values with a margin. A single value gets a range around it."""
    low, high = min(values), max(values)
    air = (high - low) * share or abs(high) * 0.1 or 1.0
    return low - air, high + air


def frame(
    canvas: Canvas,
    x: Scale,
    y: Scale,
    *,
    x_label: str,
    y_label: str,
    x_text: Callable[[float, Sequence[float]], str] = tick_text,
) -> None:
    """Draw grid lines, tick numbers and the names of both axes.

    The name of the y axis is above it, so that it need not be rotated.
    """
    x_ticks, y_ticks = x.ticks(5), y.ticks(5)
    for value in y_ticks:
        canvas.line(x.start, y(value), x.end, y(value), "rule")
        canvas.text(
            x.start - 6, y(value) + 3.5, tick_text(value, y_ticks), anchor="end", classes="tick"
        )
    for value in x_ticks:
        canvas.line(x(value), y.start, x(value), y.start + 4, "axis")
        canvas.text(x(value), y.start + 16, x_text(value, x_ticks), anchor="middle", classes="tick")
    canvas.line(x.start, y.start, x.end, y.start, "axis")
    canvas.text((x.start + x.end) / 2, y.start + 31, x_label, anchor="middle", classes="name")
    canvas.text(2, y.end - 9, y_label, classes="name")


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Separate positions (in any order) to at least `gap`, with minimal movement.

    They stay inside [low, high] if they fit.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    gap = min(gap, (high - low) / max(1, len(places) - 1))
    moved = [0.0] * len(places)
    # Blocks of touching labels, each centered on the mean wish of its members (pool adjacent
    # violators).
    blocks: list[list[int]] = []
    centers: list[float] = []

    def center(block: list[int]) -> float:
        half = gap * (len(block) - 1) / 2
        return min(max(sum(places[i] for i in block) / len(block), low + half), high - half)

    for i in order:
        blocks.append([i])
        centers.append(center([i]))
        while (
            len(blocks) > 1
            and centers[-2] + gap * (len(blocks[-2]) - 1) / 2 + gap
            > centers[-1] - gap * (len(blocks[-1]) - 1) / 2
        ):
            joined = blocks[-2] + blocks[-1]
            blocks[-2:], centers[-2:] = [joined], [center(joined)]
    for block, middle in zip(blocks, centers):
        for number_in, i in enumerate(block):
            moved[i] = middle + gap * (number_in - (len(block) - 1) / 2)
    return moved


def label_width(labels: Sequence[str], most: int) -> float:
    """Return the units of the widest label, clipped to `most` columns."""
    return LETTER * max((min(width(label), most) for label in labels), default=0)
