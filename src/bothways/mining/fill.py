"""Random negatives for a row for which too few documents passed.

BM25 does not rank documents that share no word with the query, and a small corpus may not have
documents within the window of ranks. Without in-batch negatives a row without a negative teaches
nothing. So it gets random texts of the corpus that it is mined in. That is its own task's corpus if
the rows are their own corpus. A random text of a large corpus is an easy negative, and hardly ever
an answer that nobody labeled.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from bothways.data.labeled.example import Example
from bothways.mining.corpus import Documents
from bothways.mining.document_filters import WINDOW, Rule, broken_rule, reasons
from bothways.mining.known import Excluded
from bothways.mining.options import MiningOptions
from bothways.mining.select import Choice, shortest

# If there are at most so many candidates for each place that may be ruled out, all are listed.
# Otherwise places are drawn.
_DENSE = 4
_TRIES = 64  # random documents that are scored and tested, for each wanted negative


def filled(
    choice: Choice,
    row: int,
    example: Example,
    documents: Documents,
    excluded: Excluded,
    scored: Callable[[list[int]], np.ndarray],
    answer: float,
    options: MiningOptions,
    rules: Sequence[Rule] = (),
) -> Choice:
    """Add random documents to a choice until it has enough negatives, or none is left.

    Args:
        choice: the documents that passed.
        row: number of the row among all rows, on which the draw depends.
        example: the row.
        documents: the corpus.
        excluded: places that cannot be negatives.
        scored: returns the scores (k,) of k places.
        answer: lowest score of the query's answers, to which limits on similarities are relative.
            For BM25 only `max_score` holds, because a document that shares no word with the query
            scores 0, and so may the answer.
        options: number of negatives, and limits.
        rules: additional rules of the caller.
    """
    draw = random.Random(f"{options.seed}:{row}:fill")
    limits = _limits(options)
    judged = options.method != "bm25" or options.max_score is not None
    found: list[int] = []
    asked = 0

    def take(places: Iterator[int]) -> None:
        nonlocal asked
        for place in places:
            if (
                len(choice.places) + len(found) == options.negatives
                or asked == _TRIES * options.negatives
            ):
                return
            if excluded.reason(place) is not None:
                continue
            asked += 1
            # the window counts ranks, which random documents do not have
            limit = reasons(scored([place]), answer, limits)[0] if judged else None
            if limit is None and broken_rule(rules, example, documents.texts[place]) is None:
                found.append(place)

    seen = {place for _, place, _, _ in choice.filtered} | set(choice.places)
    take(_random(documents.candidates, seen, len(excluded), draw))
    if not choice.places and not found:
        guarded = [place for _, place, _, reason in choice.filtered if reason == WINDOW]
        take(iter(draw.sample(guarded, len(guarded))))
    return replace(
        choice,
        places=choice.places + found,
        scores=choice.scores + [shortest(score) for score in scored(found)],
        ranks=choice.ranks + [0] * len(found),
        filled=len(found),
    )


def _limits(options: MiningOptions) -> MiningOptions:
    """Return the options without a rank window. For BM25 only `max_score` holds."""
    limits = replace(options, window=(1, options.ranks[1]))
    if options.method != "bm25":
        return limits
    return replace(limits, perc=None, margin=None, relative_margin=None)


def _random(candidates: int, seen: set[int], excluded: int, draw: random.Random) -> Iterator[int]:
    """Yield places of the corpus in random order, each once, without those of `seen`."""
    if candidates <= _DENSE * (len(seen) + excluded):
        left = [place for place in range(candidates) if place not in seen]
        yield from draw.sample(left, len(left))
        return
    given = set(seen)
    # Most places are free here, so a draw rarely meets a used one. The bound ends a search that
    # finds nothing more.
    for _ in range(2 * candidates):
        place = draw.randrange(candidates)
        if place not in given:
            given.add(place)
            yield place
