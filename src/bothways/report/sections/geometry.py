"""The geometry of vectors: alignment, uniformity, spectrum, and cosine densities by gold score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from bothways.evaluation.results import Record
from bothways.report import findings
from bothways.report.charts.densities import Ridge, ridges
from bothways.report.charts.lines import Series, lines
from bothways.report.charts.scatter import Point, lens
from bothways.report.comparison import Comparison
from bothways.report.markup import clip, esc, number
from bothways.report.result_columns import Column
from bothways.report.sections.section import Missing, Section, Styles, grid

# Singular values below this share of the largest are rounding.
_FLOOR = 1e-4

Found = TypeVar("Found")


def by_column(
    comparison: Comparison, read: Callable[[Record], Found | None]
) -> list[tuple[Column, dict[str, Found]]]:
    """Apply `read` by task and model. Tasks without any result are left out."""
    tasks = []
    for column in comparison.columns:
        found = {}
        for label in comparison.labels:
            value = read(column.records[label]) if label in column.records else None
            if value is not None:
                found[label] = value
        if found:
            tasks.append((column, found))
    return tasks


def geometry(comparison: Comparison, styles: Styles) -> Section | Missing:
    """Build maps of alignment and uniformity, and spectra, side by side."""
    charts = [
        _lens(column, found, styles) for column, found in by_column(comparison, findings.lens)
    ]
    charts += [
        _spectrum(column, found, styles)
        for column, found in by_column(comparison, findings.spectrum)
    ]
    if not charts:
        what = "Alignment, uniformity and singular-value spectrum"
        return Missing(what, "bothways evaluate MODEL --task geometry:PAIRS --out results.json")
    lead = (
        "Alignment: mean squared distance of pairs that mean the same. Uniformity: log of the mean Gaussian potential of all "
        "pairs. Both are better when lower, but one alone means nothing: all texts in one place align perfectly. The spectrum: "
        "singular values of the matrix of sentence vectors, divided by the largest. A steep fall means that few directions "
        "carry everything."
    )
    return Section("geometry", "Geometry of the vectors", lead, grid(charts))


def _lens(column: Column, found: dict[str, tuple[float, float]], styles: Styles) -> str:
    points = [Point(label, styles[label], *values) for label, values in found.items()]
    told = "; ".join(
        f"{point.label}: uniformity {point.uniformity:.2f}, alignment {point.alignment:.2f}"
        for point in points
    )
    return lens(f"Alignment, uniformity: {column.name}", told, points)


def _spectrum(column: Column, found: dict[str, list[float]], styles: Styles) -> str:
    series = []
    for label, values in found.items():
        above = [
            (float(i), value / values[0])
            for i, value in enumerate(values, start=1)
            if value / values[0] >= _FLOOR
        ]
        series.append(Series(label, styles[label], above))
    lowest = min(value for each in series for _, value in each.points)
    bottom = next((10.0**-power for power in range(1, 4) if 10.0**-power <= lowest), _FLOOR)
    told = "; ".join(
        f"{label}: half of the largest at number {_half(values)}" for label, values in found.items()
    )
    title = f"Singular values: {column.name}"
    return lines(
        title,
        told,
        series,
        x_label="number",
        y_label="÷ largest",
        log_y=True,
        y_range=(bottom, 1.0),
        height=316,
    )


def _half(values: Sequence[float]) -> int:
    return next(
        (i for i, value in enumerate(values, start=1) if value < values[0] / 2), len(values)
    )


def densities(comparison: Comparison, styles: Styles) -> Section | Missing:
    """Build the panels of cosine by gold score: one per model, all on one axis."""
    tasks = by_column(comparison, findings.densities)
    measured = [
        (column, found)
        for column, found in tasks
        if any("densities" in r.details for r in column.records.values())
    ]
    # If densities were not measured, the pairs of one STS task show them.
    chosen = measured or tasks[:1]
    charts = []
    for column, found in chosen:
        low, high = _common_axis([row for rows in found.values() for row in rows])
        for label, rows in found.items():
            told = "; ".join(
                f"gold {row.name}: mean cosine {number(_mean(row), 2)} over {row.total:.0f} pairs"
                for row in rows
            )
            title = f"{clip(label, 30)} · {column.name}" if len(chosen) > 1 else label
            charts.append(
                ridges(title, f"{label}, {column.name}. {told}", rows, low=low, high=high)
            )
    if not charts:
        return Missing(
            "Cosine densities by gold score",
            "bothways evaluate MODEL --task sts:PAIRS --out results.json",
        )
    used = ", ".join(esc(column.name) for column, _ in chosen)
    lead = (
        f"How the cosine of a pair is distributed, by the score that people gave it ({used}). A good encoder's ridges move to the "
        "right as the score rises. If they lie on top of each other, the cosine carries no information."
    )
    return Section("densities", "Cosine densities by gold score", lead, grid(charts))


def _mean(row: Ridge) -> float:
    middles = [(a + b) / 2 for a, b in zip(row.edges, row.edges[1:])]
    return sum(c * m for c, m in zip(row.counts, middles)) / (row.total or 1.0)


def _common_axis(rows: Sequence[Ridge]) -> tuple[float, float]:
    """Return the lowest and the highest edge of a cell that holds any pair."""
    held = [
        (a, b)
        for row in rows
        for count, a, b in zip(row.counts, row.edges, row.edges[1:])
        if count > 0
    ]
    if not held:
        return -1.0, 1.0
    low, high = min(a for a, _ in held), max(b for _, b in held)
    return (low, high) if high > low else (low - 0.1, high + 0.1)
