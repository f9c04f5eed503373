"""The numbers of a report: scores, averages, differences from the baseline, bootstrap intervals.

Tables and charts show the same numbers, because both use a `Measure`, which is one task or an
average over several. An average includes tasks with a metric in [-1, 1] that is better when higher.
Its replicates are the means of the tasks' replicates, and each task is resampled separately.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bothways.errors import InputError
from bothways.nearest import meant
from bothways.report.bootstrap import Items, interval, read_items, replicates
from bothways.report.material import ReportedModel
from bothways.report.result_columns import Better, Column, align

Interval = tuple[float, float]

# These do not measure the vectors of texts, so they would distort an average.
_APART = frozenset({"passkey", "topics", "prefix", "words"})


@dataclass(frozen=True)
class Measure:
    """One column of the headline table.

    Attributes:
        name: its heading.
        below: the smaller line under the heading.
        title: the full description.
        better: which end is good.
        scale: factor on printed values.
        scores: scores by model.
        samples: replicates (B,) by model, with equal draws for all models. Only models with known
            items are included.
        items: number of resampled items. 0 if nothing was resampled.
        columns: the tasks of an average. Empty for a task.
    """

    name: str
    below: str
    title: str
    better: Better
    scale: float
    scores: Mapping[str, float]
    samples: Mapping[str, np.ndarray]
    items: int
    columns: tuple[str, ...] = ()

    @property
    def decimals(self) -> int:
        """The number of printed decimals: one for points, two or three for other numbers."""
        largest = max((abs(score) for score in self.scores.values()), default=0.0)
        return 1 if self.scale == 100 or largest >= 100 else 2 if largest >= 10 else 3

    def interval(self, label: str) -> Interval | None:
        """Compute the interval of a model's score, unscaled."""
        return interval(self.samples[label]) if label in self.samples else None

    def difference(self, label: str, other: str) -> tuple[float, Interval | None] | None:
        """Compute `label` minus `other`, unscaled, with the paired interval.

        The result is None if one of them does not have a score.
        """
        if label not in self.scores or other not in self.scores:
            return None
        value = self.scores[label] - self.scores[other]
        paired = label in self.samples and other in self.samples
        return value, interval(self.samples[label] - self.samples[other]) if paired else None

    def best(self) -> str | None:
        """Find the label of the best model.

        The result is None if fewer than two were measured, or if the measure does not rank.
        """
        if self.better == "neither" or len(self.scores) < 2:
            return None
        return (max if self.better == "higher" else min)(self.scores, key=self.scores.__getitem__)

    def level_with_best(self, label: str) -> bool:
        """Tell if chance could explain a model's difference to the best one."""
        best = self.best()
        if best is None or label == best:
            return False
        found = self.difference(label, best)
        return found is not None and found[1] is not None and found[1][0] <= 0 <= found[1][1]


@dataclass(frozen=True)
class Comparison:
    """All compared values.

    Attributes:
        models: the models, in the order given.
        baseline: label of the model that is subtracted in differences.
        columns: the recorded tasks. Those that do not rank come last.
        tasks: a measure for each column.
        averages: the overall average first, then one per kind. Empty if there is nothing to
            average.
        note: the tasks that averages leave out, and the reason. Empty if there are none.
        resamples: number of draws of the bootstrap.
        seed: seed of the bootstrap.
    """

    models: list[ReportedModel]
    baseline: str
    columns: list[Column]
    tasks: list[Measure]
    averages: list[Measure]
    note: str
    resamples: int
    seed: int

    @property
    def labels(self) -> list[str]:
        """Every model's label."""
        return [model.label for model in self.models]

    @property
    def lead(self) -> Measure | None:
        """The measure that represents a model: the average, or a single task.

        The single task is the only one that could be in an average, or the only ranked one.
        """
        if self.averages:
            return self.averages[0]
        ranked = [task for task in self.tasks if task.better != "neither"]
        vectors = [
            task
            for column, task in zip(self.columns, self.tasks)
            if task in ranked and column.kind not in _APART
        ]
        return next((found[0] for found in (vectors, ranked) if len(found) == 1), None)

    def challenger(self) -> str | None:
        """Find the model to compare with the baseline.

        It is the best other one, or the last one if no measure ranks them.
        """
        others = [label for label in self.labels if label != self.baseline]
        lead = self.lead
        scored = [label for label in others if lead is not None and label in lead.scores]
        if lead is None or not scored:
            return others[-1] if others else None
        return (min if lead.better == "lower" else max)(scored, key=lead.scores.__getitem__)


def compare(
    models: Sequence[ReportedModel], *, baseline: str | None, resamples: int, seed: int
) -> Comparison:
    """Align, resample and average the models' results.

    Args:
        models: at least one model.
        baseline: a label. If None, the first model.
        resamples: number of draws of the bootstrap.
        seed: seed of the draws.

    Raises:
        InputError: if no model has the label `baseline`.
    """
    labels = [model.label for model in models]
    if baseline is not None and baseline not in labels:
        raise InputError(
            f"baseline {baseline!r} is not one of the models; "
            f"{meant(baseline, labels)}there are {', '.join(repr(label) for label in labels)}"
        )
    columns = sorted(align(models), key=lambda column: column.better == "neither")
    tasks = [_measure(column, labels, resamples, seed) for column in columns]
    averages, note = _averages(columns, tasks, labels)
    chosen = labels[0] if baseline is None else baseline
    return Comparison(list(models), chosen, columns, tasks, averages, note, resamples, seed)


def _measure(column: Column, labels: Sequence[str], resamples: int, seed: int) -> Measure:
    scores = {label: score for label in labels if (score := column.score(label)) is not None}
    items = _paired(
        {label: read_items(column.records[label].details, score) for label, score in scores.items()}
    )
    samples = replicates(items, resamples, seed, column.data) if items else {}
    count = len(next(iter(items.values()))) if items else 0
    below = f"{column.kind} · {column.metric}"
    return Measure(
        column.name, below, column.task, column.better, column.scale, scores, samples, count
    )


def _paired(found: Mapping[str, Items | None]) -> dict[str, Items]:
    """Select the models with the same items as the first: equal number, gold scores and groups."""
    known = {label: items for label, items in found.items() if items is not None}
    if not known:
        return {}
    first = next(iter(known.values()))

    def alike(items: Items) -> bool:
        same_gold = (items.gold is None) == (first.gold is None) and (
            items.gold is None or first.gold is None or np.array_equal(items.gold, first.gold)
        )
        same_form = len(items) == len(first) and items.precision == first.precision
        return same_form and np.array_equal(items.groups, first.groups) and same_gold

    return {label: items for label, items in known.items() if alike(items)}


def _averages(
    columns: Sequence[Column], tasks: Sequence[Measure], labels: Sequence[str]
) -> tuple[list[Measure], str]:
    """Compute the overall average and those of each kind, over tasks that can be averaged."""
    able = [
        (column, task)
        for column, task in zip(columns, tasks)
        if column.better == "higher" and column.scale == 100 and column.kind not in _APART
    ]
    fit = [(column, task) for column, task in able if 2 * len(task.scores) > len(labels)]
    if len(fit) < 2:
        return [], "No average: fewer than two tasks were measured on most models." if len(
            able
        ) > 1 else ""
    note = (
        f"Averages are over the {len(fit)} tasks that most models have. "
        if len(fit) < len(able)
        else ""
    )
    if not all(label in task.scores for _, task in fit for label in labels):
        note += "A model that lacks one of these tasks does not get an average."
    averages = [_average("average", [task for _, task in fit])]
    kinds = list(dict.fromkeys(column.kind for column, _ in fit))
    for kind in kinds if len(kinds) > 1 else []:
        members = [task for column, task in fit if column.kind == kind]
        if len(members) > 1:
            averages.append(_average(f"{kind} average", members))
    return averages, note


def _average(name: str, tasks: Sequence[Measure]) -> Measure:
    labels = [label for label in tasks[0].scores if all(label in task.scores for task in tasks)]
    scores = {label: float(np.mean([task.scores[label] for task in tasks])) for label in labels}
    sampled = [label for label in labels if all(label in task.samples for task in tasks)]
    samples = {label: np.mean([task.samples[label] for task in tasks], axis=0) for label in sampled}
    title = f"mean of {', '.join(task.name for task in tasks)}"
    items = sum(task.items for task in tasks) if samples else 0
    return Measure(
        name,
        f"{len(tasks)} tasks",
        title,
        "higher",
        100.0,
        scores,
        samples,
        items,
        tuple(task.name for task in tasks),
    )
