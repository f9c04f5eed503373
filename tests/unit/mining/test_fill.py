"""Random texts fill up a row for which too few documents passed."""

from __future__ import annotations

import numpy as np
import pytest

from bothways.data.labeled.example import Example
from bothways.mining import mine
from bothways.mining.document_filters import WINDOW
from bothways.mining.fill import filled
from bothways.mining.known import Excluded
from bothways.mining.options import MiningOptions
from bothways.mining.select import Choice
from unit.mining.material import collection, key, scattered


@pytest.mark.parametrize("method", ["bm25", "dense"])
def test_random_texts_fill_up_and_are_never_answers_nor_over_a_limit(method) -> None:
    examples, corpus = collection()
    encoder = None if method == "bm25" else scattered
    found = mine(examples, corpus, method=method, encoder=encoder, negatives=9, window=(2, 10), max_score=0.4, fill="random")
    bare = mine(examples, corpus, method=method, encoder=encoder, negatives=9, window=(2, 10), max_score=0.4, fill="none")
    assert found.statistics.counts.filled > 0
    answers: dict[str, set[str]] = {}
    for row in examples:
        answers.setdefault(key(row.query), set()).update(map(key, row.positives))
    for row, short in zip(found.examples, bare.examples):
        assert row.negatives[: len(short.negatives)] == short.negatives
        assert len({key(text) for text in row.negatives}) == len(row.negatives)
        assert answers[key(row.query)].isdisjoint(map(key, row.negatives))
        assert method == "bm25" or max(row.negative_scores, default=0) < 0.4


class Texts:
    """A corpus of ten texts."""

    texts = tuple(f"text {place}" for place in range(10))
    candidates = 10


def one(options: MiningOptions, never: set[int], filtered: list[tuple[int, int, float, str]] | None = None) -> Choice:
    empty = Choice([], [], [], [0.5], filtered or [], 0)
    excluded = Excluded(dict.fromkeys(never, "answer"), frozenset())
    scored = lambda places: np.array([place / 10 for place in places], dtype=np.float32)  # noqa: E731
    return filled(empty, 3, Example("q", ("p",)), Texts(), excluded, scored, 0.5, options)  # type: ignore[arg-type]


def test_random_documents_are_free_places_with_rank_zero_drawn_by_the_seed() -> None:
    choice = one(MiningOptions(negatives=3), {1, 2})
    assert choice.filled == 3 and choice.ranks == [0, 0, 0]
    assert len(set(choice.places)) == 3 and {1, 2}.isdisjoint(choice.places)
    assert choice.scores == [place / 10 for place in choice.places]
    assert one(MiningOptions(negatives=3), {1, 2}) == choice
    drawn = {tuple(one(MiningOptions(negatives=3, seed=seed), {1, 2}).places) for seed in range(20)}
    assert len(drawn) > 10


def test_every_free_document_is_found_and_none_over_a_limit() -> None:
    never = {0, 8, 9}
    assert sorted(one(MiningOptions(negatives=9), never).places) == list(range(1, 8))
    assert sorted(one(MiningOptions(negatives=9, max_score=0.4), never).places) == [1, 2, 3]
    dense = MiningOptions(method="dense", negatives=9, perc=0.4, fill="random")
    assert sorted(one(dense, never).places) == [1], "0.2 is 0.4 of the answer"


def test_documents_above_the_window_come_last() -> None:
    guarded = [(1, 9, 0.9, WINDOW), (2, 8, 0.8, WINDOW)]
    assert set(one(MiningOptions(negatives=2), set(range(7)), guarded).places) == {7}
    assert set(one(MiningOptions(negatives=2), set(range(8)), guarded).places) == {8, 9}
