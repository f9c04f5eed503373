"""The rows of an epoch, and how they are put into batches.

Each task has a weight: the number of passes over its rows in an epoch. 0.1 is a tenth of the rows
(LLM2Vec takes a tenth of ELI5 and half of MS MARCO), and 2 is each of them twice. The rows are the
next ones of an endless series of permutations. So ten epochs at weight 0.1 show each row once, and
no row comes again before all others of its task have come.

    blended       one permutation of all rows, cut into batches, so a task has its share of each
                  (NV-Embed, arXiv 2405.17428, section 4)
    homogeneous   a permutation of each task's rows, cut into batches, in random order. In-batch
                  negatives are texts of the same task, so they are harder (SFR-Embedding, LLM2Vec's
                  supervised stage)

Rows that do not fill a batch are left out of the epoch. With homogeneous batches this holds for
each task, as in LLM2Vec. Every epoch is a function of its number and the generators, so any epoch
can be made without those before it. Every epoch has the same number of rows of a task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch

from bothways.errors import InputError

Generators = Callable[[int, int], torch.Generator]
"""Returns the generator of (place of the task, pass), the same one for every call."""

Batching = Literal["blended", "homogeneous"]
BATCHINGS: tuple[str, ...] = get_args(Batching)


@dataclass(frozen=True)
class TaskRows:
    """Rows of one task that have one weight.

    Attributes:
        rows: their numbers in the data.
        task: the name by which homogeneous batches are formed.
        weight: the number of passes over the rows in an epoch, above 0.
    """

    rows: Sequence[int]
    task: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check the weight.

        Raises:
            InputError: the weight is not above 0.
        """
        if not self.weight > 0:
            raise InputError(
                f"weight of {self.task!r}: {self.weight}; expected a number above 0, the passes over its rows in an epoch"
            )

    @property
    def per_epoch(self) -> int:
        """The rows of an epoch: weight times rows, rounded, and at least one if there are any."""
        return max(1, round(self.weight * len(self.rows))) if self.rows else 0


def epoch_rows(groups: Sequence[TaskRows], epoch: int, generators: Generators) -> list[list[int]]:
    """Return the rows of one epoch, task by task.

    Args:
        groups: all rows of the data.
        epoch: the number of the epoch, from 0.
        generators: the generators of the permutations.

    Returns:
        The `per_epoch` rows of each task. Rows of one pass are in their own order, and passes
        follow one after the other.
    """
    return [
        _taken(group, epoch, partial(generators, number)) for number, group in enumerate(groups)
    ]


def batches_per_epoch(groups: Sequence[TaskRows], size: int, kind: Batching) -> int:
    """Return the number of batches of `size` rows in every epoch."""
    if kind == "blended":
        return sum(group.per_epoch for group in groups) // size
    return sum(count // size for count in rows_by_task(groups).values())


def rows_by_task(groups: Sequence[TaskRows]) -> dict[str, int]:
    """Return the rows of each task in every epoch, in the order of first appearance."""
    counts: dict[str, int] = {}
    for group in groups:
        counts[group.task] = counts.get(group.task, 0) + group.per_epoch
    return counts


def epoch_batches(
    groups: Sequence[TaskRows],
    rows: Sequence[Sequence[int]],
    size: int,
    kind: Batching,
    generator: torch.Generator,
) -> list[list[int]]:
    """Return the batches of one epoch.

    Args:
        groups: all rows of the data.
        rows: the rows of this epoch for each of them, from `epoch_rows`.
        size: the rows of a batch, over all processes and micro-batches.
        kind: see the top of this file.
        generator: the generator of all permutations.
    """
    if kind == "blended":
        return _cut([row for part in rows for row in part], size, generator)
    tasks: dict[str, list[int]] = {}
    for group, part in zip(groups, rows):
        tasks.setdefault(group.task, []).extend(part)
    batches = [batch for task in tasks.values() for batch in _cut(task, size, generator)]
    order = torch.randperm(len(batches), generator=generator).tolist()
    return [batches[number] for number in order]


def _cut(rows: Sequence[int], size: int, generator: torch.Generator) -> list[list[int]]:
    order = torch.randperm(len(rows), generator=generator).tolist()
    shuffled = [rows[place] for place in order]
    return [shuffled[first : first + size] for first in range(0, len(rows) - size + 1, size)]


def _taken(group: TaskRows, epoch: int, generator: Callable[[int], torch.Generator]) -> list[int]:
    count = len(group.rows)
    start = epoch * group.per_epoch
    stop = start + group.per_epoch
    rows: list[int] = []
    while start < stop:
        lap, first = divmod(start, count)
        last = min(count, first + stop - start)
        # a whole pass needs no permutation, because `epoch_batches` shuffles the epoch
        whole = last - first == count
        places = range(count) if whole else _part(count, first, last, generator(lap))
        rows += [group.rows[place] for place in places]
        start += last - first
    return rows


def _part(count: int, first: int, last: int, generator: torch.Generator) -> list[int]:
    return sorted(torch.randperm(count, generator=generator)[first:last].tolist())
