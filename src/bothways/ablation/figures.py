"""The figures of an ablation: its columns, its lines, the baseline and the best of them.

`table.py` fills and saves them, and `markdown.py` shows them.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FigureColumn:
    """A task.

    Attributes:
        task: its name in results.
        title: a short name, unique in the table.
        metric: its main metric.
        ranks: True if higher is better. Other tasks are shown, but neither averaged nor marked.
        averaged: True if it is part of the average: it ranks, and no checkpoint was chosen on its
            data.
    """

    task: str
    title: str
    metric: str
    ranks: bool
    averaged: bool


@dataclass
class Line:
    """A row under a pooling, over its seeds.

    Scores are as in results files: correlations in [-1, 1].

    Attributes:
        row: the row that was measured.
        pooling: the pooling that it was measured under.
        trained: the pooling that it was trained through. None if no stage was.
        causal_baseline: True if it is causal and untrained.
        seeds: seeds of training, one per score. [None] for an untrained row.
        scores: scores by task, one per seed.
        minutes: minutes of training all stages, one per seed. Empty for an untrained row.
        files: results files, one per seed.
    """

    row: str
    pooling: str
    trained: str | None
    causal_baseline: bool
    seeds: list[int | None] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)
    minutes: list[float] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def under(self) -> str:
        """The pooling as in the table's head."""
        plain = self.pooling.replace("_", " ")
        return (
            plain
            if self.trained in (None, self.pooling)
            else f"{plain} (trained: {str(self.trained).replace('_', ' ')})"
        )

    def averages(self, columns: Sequence[FigureColumn]) -> list[float]:
        """Compute the mean over the averaged tasks, one per seed. Without such tasks, return []."""
        averaged = [self.scores[column.task] for column in columns if column.averaged]
        return [statistics.fmean(values) for values in zip(*averaged)]


@dataclass(frozen=True)
class Figures:
    """The result of an ablation.

    Attributes:
        base: the model.
        columns: the tasks.
        lines: rows under poolings, in the plan's order.
        plan: the resolved plan.
        notes: notes on combinations that were left out.
    """

    base: str
    columns: tuple[FigureColumn, ...]
    lines: tuple[Line, ...]
    plan: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def baseline(self) -> Line | None:
        """The best causal line without training, or None without one with a positive average."""
        found = [
            line for line in self.lines if line.causal_baseline and line.averages(self.columns)
        ]
        best = max(
            found, key=lambda line: statistics.fmean(line.averages(self.columns)), default=None
        )
        return (
            best if best is not None and statistics.fmean(best.averages(self.columns)) > 0 else None
        )

    @property
    def best(self) -> Line | None:
        """The line with the highest average. None if no task ranks."""
        found = [line for line in self.lines if line.averages(self.columns)]
        return max(
            found, key=lambda line: statistics.fmean(line.averages(self.columns)), default=None
        )

    def gain(self, line: Line) -> float | None:
        """Compute the percentage above the baseline: (average / baseline's average - 1) x 100.

        It is None if there is no baseline, and for the baseline itself.
        """
        own, base = line.averages(self.columns), self.baseline
        if base is None or base is line or not own:
            return None
        return 100 * (statistics.fmean(own) / statistics.fmean(base.averages(self.columns)) - 1)
