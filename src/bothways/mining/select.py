"""The choice of one row's negatives from a ranking.

Every other document of the ranking gets a reason why it is not a negative.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bothways.data.labeled.example import Example
from bothways.mining.candidates import Ranked
from bothways.mining.corpus import Documents
from bothways.mining.document_filters import Rule, broken_rule, reasons
from bothways.mining.known import Excluded
from bothways.mining.options import MiningOptions


@dataclass(frozen=True)
class Choice:
    """The result of mining for one row.

    Attributes:
        places: negatives, as indices into the documents, in rank order.
        scores: scores of the negatives.
        ranks: ranks of the negatives, from 1.
        positive_scores: scores of the row's positives, in their order.
        filtered: (rank, place, score, reason) of documents that cannot be negatives. Rank 0 means
            excluded before ranks were counted.
        spare: number of documents that passed and were not needed.
        filled: number of negatives, at the end, that were drawn at random. Their rank is 0.
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
    """Choose the negatives of one row.

    Args:
        row: number of the row among all rows, on which a random draw depends.
        example: the row.
        documents: the corpus of `ranked`.
        ranked: ranking of the row, to the last rank of the window.
        excluded: documents that were left out of the ranking, with reasons.
        answers: scores of all answers to the query, with those of the row itself first.
        options: limits, sampling and number of negatives.
        rules: additional rules of the caller.
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
        # Python hashes a string seed with SHA-512: alike in every process, different for each row.
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
    """Return a float32 as its shortest decimal: 0.76 and not 0.7599999904632568."""
    return float(str(np.float32(score)))
