"""Renders an ablation's table as Markdown: rows x poolings as the papers print it, then every task.

Scores that rank are printed x 100, as is usual in the field. `table.json` holds the full numbers.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bothways.ablation.figures import Figures, Line


def render(table: Figures) -> str:
    """Render both tables, with the notes that readers need."""
    blocks = [f"# {table.base}: ablation", _overview(table), _details(table)]
    if table.notes:
        blocks.append("Left out: " + "; ".join(table.notes) + ".")
    return "\n\n".join(block for block in blocks if block) + "\n"


def _overview(table: Figures) -> str:
    """Render the average over tasks, with rows down and poolings across."""
    if table.best is None:
        return ""
    poolings = list(dict.fromkeys(line.under for line in table.lines))
    head = ["", *poolings]
    body = []
    for row in dict.fromkeys(line.row for line in table.lines):
        found = {line.under: line for line in table.lines if line.row == row}
        body.append([_plain(row), *(_average(table, found.get(pooling)) for pooling in poolings)])
    ranked = [column.title for column in table.columns if column.averaged]
    what = f"Average of {len(ranked)} tasks" if len(ranked) > 1 else f"Score on {_plain(ranked[0])}"
    return f"{what}, x 100{_over_seeds(table)}; the best in bold.\n\n{_grid(head, body)}{_baseline(table)}"


def _average(table: Figures, line: Line | None) -> str:
    if line is None:
        return "-"
    text = _score(line.averages(table.columns))
    gain = table.gain(line)
    told = "" if gain is None else f" ({gain:+.1f} %)"
    return (f"**{text}**" if line is table.best else text) + told


def _baseline(table: Figures) -> str:
    base = table.baseline
    if base is None:
        return ""
    score = 100 * statistics.fmean(base.averages(table.columns))
    return f"\n\nPercent: relative to the best causal baseline, {_plain(base.row)} under {base.under} ({score:.1f})."


def _details(table: Figures) -> str:
    """Render every task of every line, and the time of its training."""
    several = sum(column.averaged for column in table.columns) > 1
    trained = any(line.minutes for line in table.lines)
    head = ["row", "pooling", *(_plain(column.title) for column in table.columns)]
    head += (["average"] if several else []) + (["training"] if trained else [])
    best = {
        column.task: max(statistics.fmean(line.scores[column.task]) for line in table.lines)
        for column in table.columns
        if column.ranks
    }
    body = []
    for line in table.lines:
        cells = [_plain(line.row), line.under]
        for column in table.columns:
            values = line.scores[column.task]
            text = _score(values) if column.ranks else _figure(values)
            cells.append(
                f"**{text}**" if best.get(column.task) == statistics.fmean(values) else text
            )
        if several:
            text = _score(line.averages(table.columns))
            cells.append(f"**{text}**" if line is table.best else text)
        if trained:
            cells.append(f"{statistics.fmean(line.minutes):.0f} min" if line.minutes else "")
        body.append(cells)
    metrics = list(dict.fromkeys(column.metric for column in table.columns))
    seen = [column.title for column in table.columns if column.ranks and not column.averaged]
    note = (
        f" Checkpoints were chosen on {', '.join(map(_plain, seen))}, which the average leaves out."
        if seen
        else ""
    )
    return f"By task ({', '.join(metrics)}).{note}\n\n{_grid(head, body)}"


def _score(values: Sequence[float]) -> str:
    """Write scores x 100, with the sample's standard deviation if there are several seeds."""
    mean = f"{100 * statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * statistics.stdev(values):.1f}"


def _figure(values: Sequence[float]) -> str:
    mean = f"{statistics.fmean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.3f}"


def _over_seeds(table: Figures) -> str:
    seeds = sorted({seed for line in table.lines for seed in line.seeds if seed is not None})
    if not seeds:
        return ""
    if len(seeds) == 1:
        return f", seed {seeds[0]}"
    return f", mean ± standard deviation over the seeds {', '.join(map(str, seeds))}"


def _grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Align cells in columns of one width, so the text is a table on a terminal too."""
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
        for row in (head, *body)
    ]
    return "\n".join([lines[0], rule, *lines[1:]])


def _plain(text: str) -> str:
    """Escape a name so that it cannot break out of its cell."""
    return text.replace("|", "\\|").replace("\n", " ")
