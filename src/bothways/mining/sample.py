"""A few rows with everything that mining saw of them, to be looked at: statistics do not show a false negative."""

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
        text: it.
        score: by the method's measure.
        rank: from 1; 0 for what is left out before ranks are counted, and for positives.
        reason: why it is no negative; "" for one.
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
        query, task: of the row.
        positives, negatives: of the finished row.
        filtered: what did not become a negative, best score first.
    """

    row: int
    query: str
    task: str
    positives: tuple[Seen, ...]
    negatives: tuple[Seen, ...]
    filtered: tuple[Seen, ...]


def sampled_rows(rows: int, count: int, seed: int | str) -> list[int]:
    """`count` row numbers (all, where there are fewer), ascending."""
    return sorted(random.Random(f"{seed}:sample").sample(range(rows), min(count, rows)))


def make_sample(row: int, example: Example, choice: Choice, documents: Documents) -> Sample:
    """A row's sample from its choice."""
    texts = documents.texts
    gone = sorted(choice.filtered, key=lambda each: (-each[2], each[1]))
    return Sample(
        row,
        example.query,
        example.task,
        tuple(Seen(text, score) for text, score in zip(example.positives, choice.positive_scores)),
        tuple(Seen(texts[place], score, rank) for place, score, rank in zip(choice.places, choice.scores, choice.ranks)),
        tuple(Seen(texts[place], score, rank, reason) for rank, place, score, reason in gone),
    )
