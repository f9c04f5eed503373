"""The ranking of a corpus for a query, without the texts that are known to be no negatives: by BM25, by vectors, or by both.

Hybrid fuses the two rankings by reciprocal rank, Σ 1 / (60 + rank) (Cormack, Clarke & Büttcher 2009), and not by a weighted sum of
scores: BM25 has no upper end and cosines of one model may all lie in [0.6, 0.9], so weights would have to be found for each model and
corpus, while ranks need none. A fused rank is no score, though, of which 95 % could be taken: candidates come from both rankings, the
score of each, by which limits judge it, is its cosine.

BM25's ranks stop where no word is shared. Letters: N documents, K ranks.
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
from bothways.search.shards import Shards
from bothways.search.topk import TopK, spans

RRF = 60  # Cormack et al.'s constant
RANKS = 2**22  # (queries x ranks) of one dense search: 48 MB of scores and places
STEP = 4  # by how much a ranking is lengthened that texts of the query's label fill up


@dataclass(frozen=True)
class Ranked:
    """A query's ranking.

    Attributes:
        places: (k,) int64, best first.
        scores: (k,) float32, of the kind that limits judge.
        dropped: (place, score) of excluded documents that stood before the last of them.
        asked: (m,) float32, scores of the documents that were asked for.
    """

    places: np.ndarray
    scores: np.ndarray
    dropped: list[tuple[int, float]]
    asked: np.ndarray


@dataclass(frozen=True)
class Request:
    """One query: its number, what its ranking is taken without, and places (m,) whose scores are wanted wherever they stand."""

    query: int
    excluded: Excluded
    asked: np.ndarray


class Search(Protocol):
    """Ranks documents for the queries it was made with, which are known by number."""

    def ranked(self, requests: Sequence[Request], depth: int) -> list[Ranked]:
        """The first `depth` documents of each query that are not excluded for it."""
        ...

    def scores(self, query: int, places: np.ndarray) -> np.ndarray:
        """Scores (k,) float32 of places (k,), of the kind that `ranked` gives."""
        ...


class Bm25Search:
    """By BM25; characters count as words where a script writes no spaces."""

    def __init__(self, documents: Documents, queries: Sequence[str]) -> None:
        """Index the documents.

        Raises:
            MissingExtra: bm25s is not installed.
            InputError: no document has a word in it.
        """
        self.candidates, self.queries = documents.candidates, queries
        self.index = Bm25Index(documents.texts, purpose="mining by BM25", tokens=_tokens)

    def ranked(self, requests: Sequence[Request], depth: int) -> list[Ranked]:
        """See `Search`."""
        return [self._ranked(request, depth) for request in requests]

    def scores(self, query: int, places: np.ndarray) -> np.ndarray:
        """See `Search`."""
        return self.index.scores(self.queries[query])[places].astype(np.float32)

    def _ranked(self, request: Request, depth: int) -> Ranked:
        scores = self.index.scores(self.queries[request.query])
        asked = scores[request.asked]
        shown = scores[: self.candidates]
        top = TopK(1, min(depth + len(request.excluded), self.candidates))
        top.update(torch.from_numpy(np.where(shown > 0, shown, -np.inf).astype(np.float32))[None], 0, 0)
        (places,), (best,) = top.best()
        there = places >= 0
        return _without(places[there], best[there], request, depth, asked)


class DenseSearch:
    """By cosine of unit vectors on disk."""

    def __init__(self, index: DenseIndex, queries: Shards, rows: Sequence[int]) -> None:
        """Search `index`; query number i has vector rows[i] of `queries`."""
        self.index, self.queries = index, queries
        self.rows = np.asarray(rows, dtype=np.int64)

    def ranked(self, requests: Sequence[Request], depth: int) -> list[Ranked]:
        """See `Search`.

        Excluded are few answers, and where a row has a label all texts of it, maybe half of the corpus: as many ranks as could all be
        such texts would be gigabytes. So a ranking is lengthened step by step, for the queries that need it.
        """
        vectors = self.vectors([request.query for request in requests])
        asked = [self.index.scores(vector, request.asked) for vector, request in zip(vectors, requests)]
        found: dict[int, Ranked] = {}
        waiting = list(range(len(requests)))
        wanted = depth + max(len(request.excluded.own) for request in requests)
        while waiting:
            for part in spans(len(waiting), max(1, RANKS // wanted)):
                numbers = waiting[part]
                for number, (places, scores) in zip(numbers, self.index.search(vectors[numbers], wanted)):
                    found[number] = _without(places, scores, requests[number], depth, asked[number])
            waiting = [
                number
                for number in waiting
                if len(found[number].places) < depth and wanted < min(depth + len(requests[number].excluded), self.index.stop)
            ]
            wanted *= STEP
        return [found[number] for number in range(len(requests))]

    def scores(self, query: int, places: np.ndarray) -> np.ndarray:
        """See `Search`."""
        return self.index.scores(self.vectors([query])[0], places)

    def vectors(self, queries: Sequence[int]) -> np.ndarray:
        """Vectors (q, D) of these queries."""
        return self.queries.rows(self.rows[list(queries)])


class HybridSearch:
    """Both, fused; see the file's head."""

    def __init__(self, lexical: Bm25Search, dense: DenseSearch) -> None:
        self.lexical, self.dense = lexical, dense

    def ranked(self, requests: Sequence[Request], depth: int) -> list[Ranked]:
        """See `Search`; each side gives its first `depth`."""
        vectors = self.dense.vectors([request.query for request in requests])
        sides = zip(self.dense.ranked(requests, depth), self.lexical.ranked(requests, depth))
        return [self._fused(vector, pair, depth) for vector, pair in zip(vectors, sides)]

    def scores(self, query: int, places: np.ndarray) -> np.ndarray:
        """See `Search`: cosines."""
        return self.dense.scores(query, places)

    def _fused(self, vector: np.ndarray, sides: tuple[Ranked, Ranked], depth: int) -> Ranked:
        fused: dict[int, float] = {}
        for side in sides:
            for rank, place in enumerate(side.places.tolist(), start=1):
                fused[place] = fused.get(place, 0.0) + 1 / (RRF + rank)
        places = np.array(sorted(fused, key=lambda place: (-fused[place], place))[:depth], dtype=np.int64)
        gone = np.array(sorted({place for side in sides for place, _ in side.dropped}), dtype=np.int64)
        cosines = self.dense.index.scores
        return Ranked(places, cosines(vector, places), list(zip(gone.tolist(), cosines(vector, gone).tolist())), sides[0].asked)


def _without(places: np.ndarray, scores: np.ndarray, request: Request, depth: int, asked: np.ndarray) -> Ranked:
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
