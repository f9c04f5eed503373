"""The rows of a supervised batch: checked, positives and negatives drawn, made to tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.losses.distillation import Teacher
from bothways.losses.false_negatives import NONE


class Drawn(NamedTuple):
    """The part of an example that one step uses: indices of its positive and of its negatives."""

    positive: int
    negatives: list[int]


def check_texts(rows: Sequence[Example]) -> None:
    """Raise InputError if an item is not an example, or holds something other than texts."""
    for index, row in enumerate(rows):
        if not isinstance(row, Example):
            raise InputError(f"examples[{index}]: expected an Example (got {type(row).__name__})")
        for text in (
            row.query,
            *row.positives,
            *row.negatives,
            row.query_prompt,
            row.document_prompt,
        ):
            if not isinstance(text, str):
                raise InputError(
                    f"examples[{index}]: holds a {type(text).__name__} in the place of a text"
                )


def draw(example: Example, negatives: int, generator: torch.Generator) -> Drawn:
    """Draw one positive and up to so many negatives of a row."""
    positives, count = len(example.positives), len(example.negatives)
    positive = int(torch.randint(positives, (1,), generator=generator)) if positives > 1 else 0
    if count <= negatives:
        return Drawn(positive, list(range(count)))
    chosen = torch.randperm(count, generator=generator)[:negatives].tolist() if negatives else []
    return Drawn(positive, chosen)


def padded_table(rows: Sequence[Sequence[int]], width: int = 1) -> Tensor:
    """Make a table (n, F) int64 from rows of unequal length, filled with NONE."""
    widest = max([width, *map(len, rows)])
    return torch.tensor(
        [[*row, *[NONE] * (widest - len(row))] for row in rows], dtype=torch.int64
    ).reshape(-1, widest)


def teacher_scores(pairs: Sequence[tuple[Example, Drawn]]) -> Teacher:
    """Return the scores of the drawn texts. NaN for a row without scores."""

    def at(scores: tuple[float, ...] | None, number: int) -> float:
        return math.nan if scores is None else scores[number]

    positive: Tensor = torch.tensor([at(row.positive_scores, one.positive) for row, one in pairs])
    negative = [at(row.negative_scores, number) for row, one in pairs for number in one.negatives]
    return Teacher(positive, torch.tensor(negative, dtype=positive.dtype))
