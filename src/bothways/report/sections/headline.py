"""The top of the page: the leading model and its distance, the main table, and all metrics."""

from __future__ import annotations

from collections.abc import Sequence

from bothways.report.charts.forest import ForestRow, forest
from bothways.report.comparison import Comparison, Measure
from bothways.report.markup import esc, number, plural, table
from bothways.report.sections.section import Section, Styles, grid, marked_name


def headline(comparison: Comparison, styles: Styles) -> Section:
    """Build the section of scores."""
    rows = [_row(label, comparison, styles) for label in comparison.labels]
    measures = [*comparison.averages, *comparison.tasks]
    head = ['<th scope="col" class="corner">model</th>', *(_head(measure) for measure in measures)]
    caption = f"{plural(len(comparison.labels), 'model')}, {plural(len(comparison.tasks), 'task')}"
    body = table(caption, head, rows, classes="scores sortable")
    return Section(
        "scores",
        "Scores",
        _lead(comparison),
        body + _key(comparison) + _charts(comparison, styles) + _all_metrics(comparison),
    )


def _shown(measure: Measure, score: float) -> str:
    return number(score * measure.scale, measure.decimals)


def _range(measure: Measure, ends: tuple[float, float] | None, *, sign: bool = False) -> str:
    if ends is None:
        return ""
    low, high = (number(end * measure.scale, measure.decimals, sign=sign) for end in ends)
    return f" (95 % interval {low} to {high})"


def _lead(comparison: Comparison) -> str:
    points = (
        "Correlations, nDCG and accuracies × 100. "
        if any(m.scale == 100 for m in comparison.tasks)
        else ""
    )
    return f"{points}{esc(comparison.note)}"


def _key(comparison: Comparison) -> str:
    measures = [*comparison.averages, *comparison.tasks]
    if len(comparison.labels) < 2:
        return ""
    told = '<span class="best sample">Bold</span>: the best of a column.'
    if any(measure.level_with_best(label) for measure in measures for label in comparison.labels):
        told += ' <span class="level sample">Dotted</span>: the difference to it may be chance (its 95 % interval holds zero).'
    if any(measure.better == "neither" for measure in measures):
        told += " Columns without a mark do not rank models."
    return f'<p class="key">{told}</p>'


def _head(measure: Measure) -> str:
    arrow = {"higher": "", "lower": " ↓", "neither": ""}[measure.better]
    aggregate = ' class="average"' if measure.columns else ""
    return (
        f'<th scope="col"{aggregate} title="{esc(measure.title)}">{esc(measure.name)}'
        f"<small>{esc(measure.below)}{arrow}</small></th>"
    )


def _row(label: str, comparison: Comparison, styles: Styles) -> str:
    cells = [_cell(measure, label) for measure in (*comparison.averages, *comparison.tasks)]
    told = (
        '<small class="base">baseline</small>'
        if label == comparison.baseline and len(comparison.labels) > 1
        else ""
    )
    return (
        f'<tr><th scope="row">{marked_name(label, styles[label])}{told}</th>{"".join(cells)}</tr>'
    )


def _cell(measure: Measure, label: str) -> str:
    score = measure.scores.get(label)
    if score is None:
        return '<td class="none">–</td>'
    best = measure.best() == label
    classes = ["average"] if measure.columns else []
    classes += ["best"] if best else ["level"] if measure.level_with_best(label) else []
    ends = measure.interval(label)
    tip = _range(measure, ends).strip(" ()")
    told = '<span class="unseen"> (best)</span>' if best else ""
    title = f' title="{tip}"' if tip else ""
    chosen = f' class="{" ".join(classes)}"' if classes else ""
    return f'<td{chosen} data-value="{score!r}"{title}>{_shown(measure, score)}{told}</td>'


def _charts(comparison: Comparison, styles: Styles) -> str:
    """Draw scores with intervals: each model's average or, for a single model, each task."""
    if len(comparison.labels) == 1:
        return _one_model(comparison, styles)
    charts = []
    lead = comparison.lead
    for measure in comparison.averages or ([lead] if lead is not None else []):
        if measure.samples:
            ordered = sorted(measure.scores.items(), key=lambda cell: -cell[1])
            rows = [
                ForestRow(label, styles[label], score * measure.scale, _scaled(measure, label))
                for label, score in ordered
            ]
            title = f"{measure.name}, with 95 % intervals"
            charts.append(
                forest(title, _told(rows), rows, difference=False, decimals=measure.decimals)
            )
    return grid(charts) if charts else ""


def _one_model(comparison: Comparison, styles: Styles) -> str:
    label = comparison.labels[0]
    rows = [
        ForestRow(measure.name, styles[label], measure.scores[label] * 100, _scaled(measure, label))
        for measure in (*comparison.averages, *comparison.tasks)
        if measure.scale == 100 and label in measure.scores
    ]
    if not any(row.interval for row in rows):
        return ""
    return grid([forest("Scores, with 95 % intervals", _told(rows), rows, difference=False)])


def _scaled(measure: Measure, label: str) -> tuple[float, float] | None:
    ends = measure.interval(label)
    return None if ends is None else (ends[0] * measure.scale, ends[1] * measure.scale)


def _told(rows: Sequence[ForestRow]) -> str:
    return "; ".join(f"{row.label} {row.value:.1f}" for row in rows)


def _all_metrics(comparison: Comparison) -> str:
    """Build one table per task with every metric as recorded, folded."""
    tables = []
    for column in comparison.columns:
        names = list(
            dict.fromkeys(name for record in column.records.values() for name in record.metrics)
        )
        labels = [label for label in comparison.labels if label in column.records]
        head = [
            '<th scope="col" class="corner">metric</th>',
            *(f'<th scope="col"><bdi>{esc(label)}</bdi></th>' for label in labels),
        ]
        rows = []
        for name in names:
            values = (column.records[label].metrics.get(name) for label in labels)
            cells = "".join(
                '<td class="none">–</td>'
                if v is None
                else f'<td data-value="{v!r}">{number(v, 4)}</td>'
                for v in values
            )
            rows.append(f'<tr><th scope="row">{esc(name)}</th>{cells}</tr>')
        tables.append(table(f"{esc(column.name)} <small>{esc(column.task)}</small>", head, rows))
    return f"<details><summary>Every metric</summary>{''.join(tables)}</details>"
