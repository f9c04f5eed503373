"""The rows of an epoch in batches: tasks mixed in every batch, or each batch of one task.

    blended       one permutation of all rows, cut into batches: a task has its share of each (NV-Embed, arXiv 2405.17428, §4)
    homogeneous   a permutation of each task's rows, cut into batches, and those in random order: in-batch negatives are texts of
                  the same task, hence harder (SFR-Embedding; LLM2Vec's supervised stage)

What does not fill a batch is left out of the epoch, with homogeneous batches of each task, as LLM2Vec does. It stands apart from
`mixing`, which says what rows an epoch has. Batches are a function of the rows and the generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch

from bothways.data.batches import Group

Batching = Literal["blended", "homogeneous"]
BATCHINGS: tuple[str, ...] = get_args(Batching)


def batches_per_epoch(groups: Sequence[Group], size: int, kind: Batching) -> int:
    """Batches of `size` rows in every epoch."""
    if kind == "blended":
        return sum(group.per_epoch for group in groups) // size
    return sum(count // size for count in rows_by_task(groups).values())


def rows_by_task(groups: Sequence[Group]) -> dict[str, int]:
    """Rows of each task in every epoch, in order of first appearance."""
    counts: dict[str, int] = {}
    for group in groups:
        counts[group.task] = counts.get(group.task, 0) + group.per_epoch
    return counts


def epoch_batches(
    groups: Sequence[Group], rows: Sequence[Sequence[int]], size: int, kind: Batching, generator: torch.Generator
) -> list[list[int]]:
    """One epoch's batches.

    Args:
        groups: of the data.
        rows: of this epoch, for each group (`mixing.epoch_rows`).
        size: rows per batch, over all processes and micro-batches.
        kind: see the file's head.
        generator: of all permutations.
    """
    if kind == "blended":
        return _cut([row for part in rows for row in part], size, generator)
    tasks: dict[str, list[int]] = {}
    for group, part in zip(groups, rows):
        tasks.setdefault(group.task, []).extend(part)
    batches = [batch for task in tasks.values() for batch in _cut(task, size, generator)]
    return [batches[number] for number in torch.randperm(len(batches), generator=generator).tolist()]


def _cut(rows: Sequence[int], size: int, generator: torch.Generator) -> list[list[int]]:
    order = torch.randperm(len(rows), generator=generator).tolist()
    shuffled = [rows[place] for place in order]
    return [shuffled[first : first + size] for first in range(0, len(rows) - size + 1, size)]
