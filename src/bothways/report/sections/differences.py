"""Differences from the baseline with paired bootstrap intervals.

They appear as a forest plot per task, as a table, and for all pairs of models.
"""

from __future__ import annotations

from bothways.report.charts.forest import ForestRow, forest
from bothways.report.comparison import Comparison, Measure
from bothways.report.markup import esc, number, table
from bothways.report.sections.section import Missing, Section, Styles, grid, marked_name


def differences(comparison: Comparison, styles: Styles) -> Section | Missing:
    """Build the section of differences."""
    others = [label for label in comparison.labels if label != comparison.baseline]
    measures = [
        m
        for m in (*comparison.averages, *comparison.tasks)
        if m.better != "neither" and comparison.baseline in m.scores
    ]
    measures = [m for m in measures if any(label in m.scores for label in others)]
    if not others:
        return Missing(
            "Differences between models", "bothways report FIRST.json SECOND.json --out report.html"
        )
    if not measures:
        what = "Differences between models (these share no ranked task on the same data)"
        return Missing(what, "bothways evaluate MODEL --task … --out results.json")
    charts = [
        chart for measure in measures if (chart := _chart(measure, comparison, styles, others))
    ]
    body = grid(charts) + _table(comparison, styles, measures, others) + _pairs(comparison, styles)
    return Section("differences", "Differences", _lead(comparison, measures), body)


def _lead(comparison: Comparison, measures: list[Measure]) -> str:
    without = [measure.name for measure in measures if not measure.samples and not measure.columns]
    told = (
        f"Each model minus the baseline <bdi>{esc(comparison.baseline)}</bdi>. Lines are 95 % intervals of the paired bootstrap: "
        f"the same {comparison.resamples:,} resamples of the pairs or queries for every model (seed {comparison.seed}). A filled "
        "mark: zero lies outside. Intervals cover the choice of items, not the seed of training. Of twenty equal models, "
        "one would seem to differ."
    )
    if without:
        names = ", ".join(esc(name) for name in without)
        told += f" No interval for {names}: the results hold no scores by item."
    return told


def _scaled(
    measure: Measure, label: str, other: str
) -> tuple[float, tuple[float, float] | None] | None:
    found = measure.difference(label, other)
    if found is None:
        return None
    value, ends = found
    return value * measure.scale, None if ends is None else (
        ends[0] * measure.scale,
        ends[1] * measure.scale,
    )


def _chart(measure: Measure, comparison: Comparison, styles: Styles, others: list[str]) -> str:
    rows = []
    for label in others:
        found = _scaled(measure, label, comparison.baseline)
        if found is not None:
            rows.append(ForestRow(label, styles[label], *found))
    if not rows:
        return ""
    told = "; ".join(f"{row.label} {row.value:+.{measure.decimals}f}" for row in rows)
    lower = " (lower is better)" if measure.better == "lower" else ""
    desc = f"Differences from {comparison.baseline} in {measure.name}{lower}: {told}"
    return forest(f"{measure.name}{lower}", desc, rows, difference=True, decimals=measure.decimals)


def _table(
    comparison: Comparison, styles: Styles, measures: list[Measure], others: list[str]
) -> str:
    head = [
        '<th scope="col" class="corner">minus baseline</th>',
        *(
            f'<th scope="col" title="{esc(m.title)}">{esc(m.name)}<small>{esc(m.below)}</small></th>'
            for m in measures
        ),
    ]
    rows = []
    for label in others:
        cells = "".join(
            _cell(_scaled(measure, label, comparison.baseline), measure) for measure in measures
        )
        rows.append(f'<tr><th scope="row">{marked_name(label, styles[label])}</th>{cells}</tr>')
    caption = f"Differences from <bdi>{esc(comparison.baseline)}</bdi> with 95 % intervals"
    return f"<details><summary>The same as a table</summary>{table(caption, head, rows, classes='sortable')}</details>"


def _cell(found: tuple[float, tuple[float, float] | None] | None, measure: Measure) -> str:
    if found is None:
        return '<td class="none">–</td>'
    value, ends = found
    shown = number(value, measure.decimals, sign=True)
    if ends is None:
        return f'<td data-value="{value!r}">{shown}<small>no interval</small></td>'
    low, high = (number(end, measure.decimals, sign=True) for end in ends)
    classes = "" if ends[0] <= 0 <= ends[1] else ' class="clear"'
    return f'<td{classes} data-value="{value!r}">{shown}<small>{low} to {high}</small></td>'


def _pairs(comparison: Comparison, styles: Styles) -> str:
    """Compare every model with every other by the leading measure, for at least three models."""
    lead = comparison.lead
    if lead is None or len(lead.scores) < 3:
        return ""
    labels = [label for label in comparison.labels if label in lead.scores]
    head = ['<th scope="col" class="corner">row minus column</th>']
    head += [f'<th scope="col"><bdi>{esc(label)}</bdi></th>' for label in labels]
    rows = []
    for label in labels:
        cells = "".join(
            '<td class="none">·</td>'
            if label == other
            else _cell(_scaled(lead, label, other), lead)
            for other in labels
        )
        rows.append(f'<tr><th scope="row">{marked_name(label, styles[label])}</th>{cells}</tr>')
    caption = f"{esc(lead.name)}: row minus column, bold if the 95 % interval excludes zero"
    return f"<details><summary>Every model against every other</summary>{table(caption, head, rows)}</details>"
