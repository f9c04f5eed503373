"""The fusion of two rankings, by its formula; rankings that a class fills up."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bothways.mining import candidates as search_file
from bothways.mining.candidates import DenseSearch, HybridSearch, Ranked, Request
from bothways.mining.known import Excluded
from bothways.search.dense import DenseIndex
from bothways.search.vector_shards import Shards
from bothways.similarity import unit


class Side:
    """A search that has ranked already; as the dense one it gives place / 1000 as the cosine of a
    place.
    """

    def __init__(self, order: np.ndarray, dropped: list[tuple[int, float]]) -> None:
        self.order, self.dropped = order, dropped
        self.index = SimpleNamespace(scores=lambda vector, places: (places / 1000).astype(np.float32))

    def ranked(self, requests: list[Request], depth: int) -> list[Ranked]:
        places = self.order[:depth]
        return [Ranked(places, np.linspace(9, 1, len(places), dtype=np.float32), self.dropped, np.array([0.5]))] * len(requests)

    def vectors(self, queries: list[int]) -> np.ndarray:
        return np.zeros((len(queries), 1))


def test_a_large_class_does_not_lengthen_every_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the corpus is of one label: rankings grow where it fills them up, and find what one
    long ranking finds.
    """
    generator = np.random.default_rng(3)
    vectors = unit(generator.standard_normal((2000, 8)).astype(np.float32))
    queries = unit(np.stack([vectors[:1000].mean(0), vectors[1500]]))
    # the first query has the class around it: its first thousand ranks are of its own label
    order = np.argsort(-(vectors @ queries[0]), kind="stable")
    requests = [
        Request(0, Excluded({int(order[1000]): "answer"}, frozenset(order[:1000].tolist())), np.array([1], dtype=np.int64)),
        Request(1, Excluded({1500: "answer"}, frozenset()), np.array([1500], dtype=np.int64)),
    ]
    shards = Shards([vectors], 2000)
    search = DenseSearch(DenseIndex(shards, 2000), Shards([queries], 2000), [0, 1])
    asked: list[tuple[int, int]] = []
    whole = DenseIndex.search
    monkeypatch.setattr(
        DenseIndex, "search", lambda self, some, depth: (asked.append((len(some), depth)), whole(self, some, depth))[1]
    )
    first, second = search.ranked(requests, 20)
    assert asked[0] == (2, 21) and {count for count, _ in asked[1:]} == {1}
    assert first.places.tolist() == order[1001:1021].tolist()
    assert [place for place, _ in first.dropped] == order[:1001].tolist()
    near = np.argsort(-(vectors.astype(np.float64) @ queries[1].astype(np.float64)), kind="stable")
    assert second.places.tolist() == near[1:21].tolist() and second.asked == pytest.approx(1)
    asked.clear()
    monkeypatch.setattr(search_file, "RANKS", 30)
    again = search.ranked(requests, 20)
    assert all(count == 1 for count, _ in asked), "one query at a time where ranks of two would be too many"
    assert again[0].places.tolist() == first.places.tolist() and again[0].dropped == first.dropped


def test_reciprocal_ranks_decide_and_cosines_are_the_scores() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.permutation(80), rng.permutation(80)[:50]  # the one side ranks fewer, as BM25 may
    fused = HybridSearch(Side(left, [(300, 7.0)]), Side(right, [(200, 0.2), (300, 0.3)]))  # type: ignore[arg-type]
    (found,) = fused.ranked([Request(0, Excluded({}, frozenset()), np.array([], dtype=np.int64))], 60)
    score = {place: 0.0 for place in range(80)}
    for side in (left[:60], right[:60]):
        for rank, place in enumerate(side.tolist(), start=1):
            score[place] += 1 / (60 + rank)
    there = [place for place in range(80) if score[place] > 0]
    assert found.places.tolist() == sorted(there, key=lambda place: (-score[place], place))[:60]
    assert found.scores.tolist() == (found.places / 1000).astype(np.float32).tolist()
    assert [place for place, _ in found.dropped] == [200, 300]
    assert found.asked.tolist() == [0.5]
