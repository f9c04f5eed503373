"""The table of an ablation: rows x poolings, mean and deviation over seeds, gain over a baseline.

LLM2Vec (arXiv 2404.05961) states a gain relative to the best *causal* encoder without training,
over all poolings: 52.40 against 34.99 is + 49.8 %.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bothways.ablation.ablation_plan import pooling_label
from bothways.ablation.figures import FigureColumn, Figures, Line
from bothways.ablation.grid import Cell
from bothways.ablation.markdown import render
from bothways.atomic import atomic_file
from bothways.evaluation.task import Task

FORMAT = "bothways-ablation-1"


@dataclass(frozen=True)
class Measured:
    """A finished cell: main score by task, minutes of training, and the results file."""

    cell: Cell
    scores: Mapping[str, float]
    minutes: float
    file: str


@dataclass(frozen=True)
class AblationTable(Figures):
    """What an ablation found, as files."""

    def markdown(self) -> str:
        """Render the tables as Markdown, see `bothways.ablation.markdown`."""
        return render(self)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types, with scores as in results files."""
        lines = []
        for line in self.lines:
            tasks = {
                task: {**_spread(values), "values": values} for task, values in line.scores.items()
            }
            own = line.averages(self.columns)
            average = {**_spread(own), "values": own} if own else None
            facts = {
                key: value
                for key, value in asdict(line).items()
                if key not in ("scores", "causal_baseline")
            }
            found = {"average": average, "gain_percent": self.gain(line), "best": line is self.best}
            lines.append({**facts, "tasks": tasks, **found, "baseline": line is self.baseline})
        columns = [asdict(column) for column in self.columns]
        return {
            "format": FORMAT,
            "base": self.base,
            "columns": columns,
            "lines": lines,
            "notes": list(self.notes),
            "plan": self.plan,
        }

    def save(self, out: Path) -> None:
        """Write table.md and table.json."""
        for name, text in (
            ("table.md", self.markdown()),
            ("table.json", json.dumps(self.as_dict(), indent=2) + "\n"),
        ):
            with atomic_file(out / name) as part:
                part.write_text(text, encoding="utf-8")


def tabulate(
    base: str,
    plan: Mapping[str, Any],
    tasks: Sequence[Task],
    found: Iterable[Measured],
    notes: Sequence[str],
    chosen_on: Collection[str] = (),
) -> AblationTable:
    """Build the table of finished cells.

    Args:
        base: name of the model.
        plan: the resolved plan.
        tasks: the columns.
        found: finished cells, see `whole_seeds`.
        notes: see `AblationTable`.
        chosen_on: fingerprints of the data on which training chose its checkpoints. A task on such
            data is shown but not averaged, unless no other task is left.
    """
    lines: dict[tuple[str, str, str | None], Line] = {}
    for each in found:
        cell = each.cell
        trained = None if cell.trained is None else pooling_label(cell.trained)
        key = (cell.row.label, pooling_label(cell.pooling), trained)
        causal = cell.row.direction == "causal" and not cell.row.stages
        line = lines.setdefault(key, Line(*key, causal))
        line.seeds.append(cell.seed)
        line.files.append(each.file)
        line.minutes += [each.minutes] if cell.node is not None else []
        for task in tasks:
            line.scores.setdefault(task.name, []).append(each.scores[task.name])
    titles = short_titles([task.name for task in tasks])
    fair = [task.higher_is_better and task.fingerprint not in chosen_on for task in tasks]
    averaged = fair if any(fair) else [task.higher_is_better for task in tasks]
    columns = tuple(
        FigureColumn(t.name, title, t.main, t.higher_is_better, fits)
        for t, title, fits in zip(tasks, titles, averaged)
    )
    return AblationTable(base, columns, tuple(lines.values()), plan, tuple(notes))


def whole_seeds(cells: Iterable[Cell], found: Sequence[Measured]) -> list[Measured]:
    """Select the finished cells of complete seeds, and the untrained ones.

    While no seed is complete, select all finished cells.
    """
    done = {each.cell.stem for each in found}
    missing = {cell.seed for cell in cells if cell.stem not in done}
    whole = [each for each in found if each.cell.seed not in missing]
    return whole if any(each.cell.seed is not None for each in whole) else list(found)


def short_titles(names: Sequence[str]) -> list[str]:
    """Shorten task names: drop the kind, extensions, and folders that do not distinguish them.

    The titles are as unique as the names. For example "sts:data/stsb/test.tsv" becomes "stsb/test".
    """
    parts = [_parts(name) for name in names]
    depths = [1] * len(names)
    while True:
        titles = ["/".join(each[-depth:]) for each, depth in zip(parts, depths)]
        longer = [
            i
            for i, title in enumerate(titles)
            if titles.count(title) > 1 and depths[i] < len(parts[i])
        ]
        if not longer:
            return [
                name if titles.count(title) > 1 else title for name, title in zip(names, titles)
            ]
        for i in longer:
            depths[i] += 1


def _parts(name: str) -> list[str]:
    head, mark, options = name.partition("?")
    place = head.partition(":")[2] or head
    pieces = [
        piece for piece in place.replace("\\", "/").split("/") if piece not in ("", ".", "..")
    ] or [name]
    for ending in (".gz", ".jsonl", ".json", ".tsv", ".csv", ".parquet", ".txt"):
        pieces[-1] = pieces[-1].removesuffix(ending)
    # A folder says more than the usual names of its splits.
    if pieces[-1] in ("test", "dev", "train", "validation", "trial") and len(pieces) > 1:
        pieces[-2:] = [f"{pieces[-2]}/{pieces[-1]}"]
    return [*pieces[:-1], pieces[-1] + mark + options]


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
    }
