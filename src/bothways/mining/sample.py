"""A few rows with everything that mining saw of them, for reading.

Statistics do not show a false negative. These samples do.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from bothways.data.labeled.example import Example
from bothways.mining.corpus import Documents
from bothways.mining.select import Choice


@dataclass(frozen=True)
class Seen:
    """A document as mining saw it.

    Attributes:
        text: the document.
        score: by the method's measure.
        rank: from 1. It is 0 for positives and for documents that were left out before ranks were
            counted.
        reason: why it is not a negative, or "" for a negative.
    """

    text: str
    score: float
    rank: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Sample:
    """One row.

    Attributes:
        row: its number, from 0.
        query: text of the query.
        task: name of the task.
        positives: positives of the finished row.
        negatives: negatives of the finished row.
        filtered: documents that did not become negatives, best score first.
    """

    row: int
    query: str
    task: str
    positives: tuple[Seen, ...]
    negatives: tuple[Seen, ...]
    filtered: tuple[Seen, ...]


def sampled_rows(rows: int, count: int, seed: int | str) -> list[int]:
    """Draw `count` row numbers, or all if there are fewer, in ascending order."""
    return sorted(random.Random(f"{seed}:sample").sample(range(rows), min(count, rows)))


def make_sample(row: int, example: Example, choice: Choice, documents: Documents) -> Sample:
    """Make the sample of a row from its choice."""
    texts = documents.texts
    gone = sorted(choice.filtered, key=lambda each: (-each[2], each[1]))
    return Sample(
        row,
        example.query,
        example.task,
        tuple(Seen(text, score) for text, score in zip(example.positives, choice.positive_scores)),
        tuple(
            Seen(texts[place], score, rank)
            for place, score, rank in zip(choice.places, choice.scores, choice.ranks)
        ),
        tuple(Seen(texts[place], score, rank, reason) for rank, place, score, reason in gone),
    )
