"""The ranking of a corpus for a query, by BM25, by vectors or by both, without excluded texts.

"hybrid" fuses the two rankings by reciprocal rank, Σ 1 / (60 + rank) (Cormack, Clarke & Büttcher
2009). A weighted sum of scores would need weights for each model and corpus, because BM25 has no
upper end and the cosines of one model may all be in [0.6, 0.9]. Ranks need no weights. But a limit
such as 95 % cannot be applied to a fused rank. So candidates come from both rankings, and the score
of each, to which limits apply, is its similarity.

BM25 ranks only documents that share a word with the query. Letters: N documents, K ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from bothways.mining.corpus import Documents
from bothways.mining.known import Excluded
from bothways.search.bm25 import Bm25Index, tokenize
from bothways.search.dense import DenseIndex
from bothways.search.topk import TopK, spans
from bothways.search.vector_shards import Shards

RRF = 60  # Cormack et al.'s constant
RANKS = 2**22  # (queries x ranks) of one dense search: 48 MB of scores and places
STEP = 4  # factor by which a ranking is lengthened if texts of the query's label fill it up


@dataclass(frozen=True)
class Ranked:
    """A query's ranking.

    Attributes:
        places: (k,) int64, best first.
        scores: (k,) float32, of the kind that limits judge.
        dropped: (place, score) of excluded documents that ranked before the last of them.
        asked: (m,) float32, scores of the requested documents.
    """

    places: np.ndarray
    scores: np.ndarray
    dropped: list[tuple[int, float]]
    asked: np.ndarray


@dataclass(frozen=True)
class Request:
    """One query.

    Attributes:
        query: number of the query.
        excluded: documents to leave out of its ranking.
        asked: (m,) places of documents with scores that are needed whatever their rank.
    """

    query: int
    excluded: Excluded
    asked: np.ndarray


class Search(Protocol):
    """Ranks documents for the queries it was made with, which have numbers."""

    def ranked(self, requests: Sequence[Request], depth: int) -> list[Ranked]:
        """Return the first `depth` documents of each query that are not excluded for it."""
        ...

    def scores(self, query: int, places: np.ndarray) -> np.ndarray:
        """Return the scores (k,) float32 of places (k,), of the kind that `ranked` gives."""
        ...


class Bm25Search:
    """A search by BM25. In a script without spaces, each character counts as a word."""

    def __init__(self, documents: Documents, queries: Sequence[str]) -> None:
        """Index the documents.

        Args:
            documents: the corpus.
            queries: texts of the queries.

        Raises:
            MissingExtra: if bm25s is not installed.
            InputError: if no document has a word in it.
        """
        self.candidates, self.queries = documents.candidates, queries
        self.index = Bm25Index(documents.texts, purpose="mining by BM25", tokens=_tokens)

    def ranked(self, requests: Sequence[Request], depth: int) -> list[Ranked]:
        """Rank, see `Search`."""
        return [self._ranked(request, depth) for request in requests]

    def scores(self, query: int, places: np.ndarray) -> np.ndarray:
        """Score, see `Search`."""
        found: np.ndarray = self.index.scores(self.queries[query])[places]
        return found.astype(np.float32)

    def _ranked(self, request: Request, depth: int) -> Ranked:
        scores = self.index.scores(self.queries[request.query])
        asked = scores[request.asked]
        shown = scores[: self.candidates]
        top = TopK(1, min(depth + len(request.excluded), self.candidates))
        top.update(
            torch.from_numpy(np.where(shown > 0, shown, -np.inf).astype(np.float32))[None], 0, 0
        )
        (places,), (best,) = top.best()
        there = places >= 0
        return _without(places[there], best[there], request, depth, asked)


class DenseSearch:
    """A search by the similarity of vectors on disk."""

    def __init__(self, index: DenseIndex, queries: Shards, rows: Sequence[int]) -> None:
        """Prepare the search.

        Args:
            index: the documents.
            queries: vectors of the distinct queries.
            rows: for each query number, its row in `queries`.
        """
        self.index, self.queries = index, queries
        self.rows = np.asarray(rows, dtype=np.int64)

    def ranked(self, requests: Sequence[Request], depth: int) -> list[Ranked]:
        """Rank, see `Search`.

        Excluded are a few answers, and all texts of a row's label, which may be half of the corpus.
        A ranking long enough for all of them would need gigabytes. So rankings are lengthened step
        by step, for the queries that need it.
        """
        vectors = self.vectors([request.query for request in requests])
        asked = [
            self.index.scores(vector, request.asked) for vector, request in zip(vectors, requests)
        ]
        found: dict[int, Ranked] = {}
        waiting = list(range(len(requests)))
        wanted = depth + max(len(request.excluded.own) for request in requests)
        while waiting:
            for part in spans(len(waiting), max(1, RANKS // wanted)):
                numbers = waiting[part]
                for number, (places, scores) in zip(
                    numbers, self.index.search(vectors[numbers], wanted)
                ):
                    found[number] = _without(places, scores, requests[number], depth, asked[number])
            waiting = [
                number
                for number in waiting
                if len(found[number].places) < depth
                and wanted < min(depth + len(requests[number].excluded), self.index.stop)
            ]
            wanted *= STEP
        return [found[number] for number in range(len(requests))]

    def scores(self, query: int, places: np.ndarray) -> np.ndarray:
        """Score, see `Search`."""
        return self.index.scores(self.vectors([query])[0], places)

    def vectors(self, queries: Sequence[int]) -> np.ndarray:
        """Return the vectors (q, D) of these queries."""
        return self.queries.rows(self.rows[list(queries)])


class HybridSearch:
    """A search by both, fused as described at the top of this file."""

    def __init__(self, lexical: Bm25Search, dense: DenseSearch) -> None:
        """Join the two searches, which have the same documents and queries."""
        self.lexical, self.dense = lexical, dense

    def ranked(self, requests: Sequence[Request], depth: int) -> list[Ranked]:
        """Rank, see `Search`. Each of the two rankings gives its first `depth`."""
        vectors = self.dense.vectors([request.query for request in requests])
        sides = zip(self.dense.ranked(requests, depth), self.lexical.ranked(requests, depth))
        return [self._fused(vector, pair, depth) for vector, pair in zip(vectors, sides)]

    def scores(self, query: int, places: np.ndarray) -> np.ndarray:
        """Return similarities, see `Search`."""
        return self.dense.scores(query, places)

    def _fused(self, vector: np.ndarray, sides: tuple[Ranked, Ranked], depth: int) -> Ranked:
        fused: dict[int, float] = {}
        for side in sides:
            for rank, place in enumerate(side.places.tolist(), start=1):
                fused[place] = fused.get(place, 0.0) + 1 / (RRF + rank)
        places = np.array(
            sorted(fused, key=lambda place: (-fused[place], place))[:depth], dtype=np.int64
        )
        gone = np.array(
            sorted({place for side in sides for place, _ in side.dropped}), dtype=np.int64
        )
        scored = self.dense.index.scores
        return Ranked(
            places,
            scored(vector, places),
            list(zip(gone.tolist(), scored(vector, gone).tolist())),
            sides[0].asked,
        )


def _without(
    places: np.ndarray, scores: np.ndarray, request: Request, depth: int, asked: np.ndarray
) -> Ranked:
    kept: list[int] = []
    dropped: list[tuple[int, float]] = []
    for number, place in enumerate(places.tolist()):
        if len(kept) == depth:
            break
        if request.excluded.reason(place) is None:
            kept.append(number)
        else:
            dropped.append((place, float(scores[number])))
    return Ranked(places[kept], scores[kept], dropped, asked)


def _tokens(text: str) -> list[str]:
    return tokenize(text, characters=True)
