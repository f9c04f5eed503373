"""From a ranking to the negatives of one row, with the reason of everything that did not become one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bothways.data.labeled.example import Example
from bothways.mining.candidates import Ranked
from bothways.mining.corpus import Documents
from bothways.mining.filters import Rule, broken_rule, reasons
from bothways.mining.known import Excluded
from bothways.mining.options import MiningOptions


@dataclass(frozen=True)
class Choice:
    """What mining found for one row.

    Attributes:
        places: of the negatives among the documents, in rank order.
        scores: of the negatives.
        ranks: of the negatives, from 1.
        positive_scores: of the row's positives, in their order.
        filtered: (rank, place, score, reason) of what could not be one; rank 0: excluded before ranks were counted.
        spare: documents that passed and were not needed.
        filled: how many of the negatives, the last ones, were drawn at random; their rank is 0.
    """

    places: list[int]
    scores: list[float]
    ranks: list[int]
    positive_scores: list[float]
    filtered: list[tuple[int, int, float, str]]
    spare: int
    filled: int = 0


def choose(
    row: int,
    example: Example,
    documents: Documents,
    ranked: Ranked,
    excluded: Excluded,
    answers: Sequence[float],
    options: MiningOptions,
    rules: Sequence[Rule] = (),
) -> Choice:
    """The negatives of one row.

    Args:
        row: its number among all rows, which a random draw depends on.
        example: the row.
        documents: that `ranked` speaks of.
        ranked: its ranking to the last rank of the window.
        excluded: why documents were left out of it.
        answers: scores of all answers to the query, those of the row itself first.
        options, rules: what may become a negative, and how many.
    """
    filtered = [(0, place, score, str(excluded.reason(place))) for place, score in ranked.dropped]
    passed: list[int] = []
    enough = options.negatives if options.sampling == "top" and not rules else None
    spare = 0
    for number, reason in enumerate(reasons(ranked.scores, float(min(answers)), options)):
        place = int(ranked.places[number])
        if reason is None and enough is not None and len(passed) == enough:
            spare += 1
            continue
        if reason is None and rules:
            reason = broken_rule(rules, example, documents.texts[place])
        if reason is None:
            passed.append(number)
        else:
            filtered.append((number + 1, place, shortest(ranked.scores[number]), reason))
    taken = passed[: options.negatives]
    if options.sampling == "random" and len(passed) > options.negatives:
        # a string seeds by its SHA-512: the same in every process, and no other row's draw
        taken = sorted(random.Random(f"{options.seed}:{row}").sample(passed, options.negatives))
    return Choice(
        [int(ranked.places[number]) for number in taken],
        [shortest(ranked.scores[number]) for number in taken],
        [number + 1 for number in taken],
        [shortest(score) for score in answers[: len(example.positives)]],
        filtered,
        spare + len(passed) - len(taken),
    )


def shortest(score: float | np.floating) -> float:
    """A float32 as the shortest decimal that means it: 0.76 and not 0.7599999904632568."""
    return float(str(np.float32(score)))
