"""How much of each source an epoch holds: tasks of unequal size, each by a weight.

A weight is a number of passes over a group's rows per epoch: 0.1 is a tenth of them (LLM2Vec takes a tenth of ELI5 and half of MS
MARCO), 2 is each of them twice. The rows are the next ones of an endless series of permutations of the group, so ten epochs at weight
0.1 show each row once, and no row comes again before all the others of its group have come. It stands apart from `sampling`, which
puts the rows of an epoch into batches.

Every epoch is a function of its number and the given generators, so any epoch can be asked for without those before it, and every
epoch has equally many rows of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from bothways.errors import InputError

#: A generator for (group, pass), the same one whenever it is asked for.
Generators = Callable[[int, int], torch.Generator]


@dataclass(frozen=True)
class Group:
    """Rows of one task that have one weight.

    Args:
        rows: their numbers in the data.
        task: what homogeneous batches go by.
        weight: passes over the rows per epoch; above 0.
    """

    rows: Sequence[int]
    task: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise InputError(
                f"weight of {self.task!r}: {self.weight}; expected a number above 0, passes over its rows per epoch"
            )

    @property
    def per_epoch(self) -> int:
        """Rows that an epoch takes: weight times rows, rounded; at least one of a group that has any."""
        return max(1, round(self.weight * len(self.rows))) if self.rows else 0


def epoch_rows(groups: Sequence[Group], epoch: int, generators: Generators) -> list[list[int]]:
    """The rows of one epoch, group by group.

    Args:
        groups: of the whole data.
        epoch: from 0.
        generators: of the permutations.

    Returns:
        For each group its `per_epoch` rows: those of one pass in their own order, passes one after the other.
    """
    return [_taken(group, epoch, partial(generators, number)) for number, group in enumerate(groups)]


def _taken(group: Group, epoch: int, generator: Callable[[int], torch.Generator]) -> list[int]:
    count = len(group.rows)
    start = epoch * group.per_epoch
    stop = start + group.per_epoch
    rows: list[int] = []
    while start < stop:
        lap, first = divmod(start, count)
        last = min(count, first + stop - start)
        # a whole pass needs no permutation: `sampling` shuffles the epoch
        places = range(count) if last - first == count else _part(count, first, last, generator(lap))
        rows += [group.rows[place] for place in places]
        start += last - first
    return rows


def _part(count: int, first: int, last: int, generator: torch.Generator) -> list[int]:
    return sorted(torch.randperm(count, generator=generator)[first:last].tolist())
