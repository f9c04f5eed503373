"""Exact ranking of documents for queries, at bounded memory, with one order for ties.

Every ranker (vectors, BM25) feeds blocks of scores to the same `TopK`, so that the same measures compare them. The order is
trec_eval's: score descending, then document id descending (scores compared in single precision, as there). Getting it exactly
matters where scores tie: BM25 on short documents, duplicates, quantised vectors.

Names: Q queries, N documents, K kept, D embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from bothways.errors import InputError
from bothways.evaluation.encoding import encode_texts, normalise
from bothways.evaluation.task import RunOptions
from bothways.search import topk as search

_QUERY_BLOCK = search.QUERY_TILE
_DOCUMENT_BLOCK = search.DOCUMENT_BLOCK
# documents whose vectors are held at a time: 32,768 x 4,096 in float32 is 0.5 GB
_ENCODE_CHUNK = 32768


@dataclass(frozen=True)
class Ranking:
    """The best K documents of each query, best first.

    Attributes:
        query_ids: Q ids.
        doc_ids: N ids, in descending order.
        index: (Q, K) int64, positions in `doc_ids`; -1 where a query has fewer documents.
        scores: (Q, K) float32; -inf where `index` is -1.
    """

    query_ids: tuple[str, ...]
    doc_ids: tuple[str, ...]
    index: np.ndarray
    scores: np.ndarray

    def as_run(self) -> dict[str, dict[str, float]]:
        """`{query: {document: score}}`, the form that pytrec_eval and BEIR call a run."""
        return {
            query: {self.doc_ids[i]: float(score) for i, score in zip(row, scores) if i >= 0}
            for query, row, scores in zip(self.query_ids, self.index, self.scores)
        }


@runtime_checkable
class Ranker(Protocol):
    """Anything that ranks texts without being asked for vectors, such as BM25."""

    def rank(
        self, queries: Mapping[str, str], corpus: Mapping[str, str], *, depth: int, ignore_identical_ids: bool = False
    ) -> Ranking:
        """The best `depth` documents of each query."""
        ...


class DenseRanker:
    """Ranks by cosine, exactly: documents are encoded chunk by chunk, scored block by block, and forgotten."""

    def __init__(
        self,
        encoder: Any,
        options: RunOptions,
        *,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
    ) -> None:
        """Hold the encoder, and the prompts that take the place of those stored with it (None for these, "" for none)."""
        self.encoder = encoder
        self.options = options
        self.query_prompt = query_prompt
        self.document_prompt = document_prompt

    def query_vectors(self, queries: Mapping[str, str]) -> torch.Tensor:
        """Unit vectors (Q, D) float32."""
        vectors = encode_texts(self.encoder, list(queries.values()), self.options, "query", prompt=self.query_prompt)
        return torch.from_numpy(normalise(vectors))

    def document_chunks(
        self, doc_ids: Sequence[str], corpus: Mapping[str, str], dimension: int
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """The place of a chunk's first document in `doc_ids`, and the chunk's unit vectors (n, D), chunk by chunk.

        Raises:
            InputError: documents do not get `dimension` numbers, as queries do.
        """
        for start in range(0, len(doc_ids), _ENCODE_CHUNK):
            texts = [corpus[doc] for doc in doc_ids[start : start + _ENCODE_CHUNK]]
            vectors = normalise(encode_texts(self.encoder, texts, self.options, "document", prompt=self.document_prompt))
            if vectors.shape[1] != dimension:
                raise InputError(f"query vectors have {dimension} dimensions, documents {vectors.shape[1]}")
            yield start, torch.from_numpy(vectors)

    def rank(
        self, queries: Mapping[str, str], corpus: Mapping[str, str], *, depth: int, ignore_identical_ids: bool = False
    ) -> Ranking:
        """See `Ranker`. Holds the Q query vectors, one chunk of document vectors and one block of scores.

        Scores are float32 products, whose last bit can depend on a document's place in its block: of two documents with the same
        text either may come first.

        Raises:
            InputError: no queries or documents, or what `encode_texts` raises.
        """
        top = TopK(queries, corpus, depth=depth, ignore_identical_ids=ignore_identical_ids)
        query_vectors = self.query_vectors(queries)
        for start, documents in self.document_chunks(top.doc_ids, corpus, query_vectors.shape[1]):
            for rows, columns in _blocks(len(query_vectors), len(documents)):
                top.update(query_vectors[rows] @ documents[columns].T, rows.start, start + columns.start)
        return top.ranking()


class TopK:
    """Running best K per query. Documents must arrive in the order of `doc_ids`, so that earlier wins among equals."""

    def __init__(
        self, queries: Mapping[str, str], corpus: Mapping[str, str], *, depth: int, ignore_identical_ids: bool = False
    ) -> None:
        """Fix the order of the documents.

        Args:
            queries, corpus: text by id; only the ids matter here.
            depth: K; cut to N where the corpus is smaller.
            ignore_identical_ids: never rank a document under a query of the same id (ArguAna and Quora, whose queries are
                documents).

        Raises:
            InputError: no queries, no documents, or depth < 1.
        """
        if not queries or not corpus or depth < 1:
            raise InputError(
                f"cannot rank {len(corpus)} documents for {len(queries)} queries to depth {depth}; all must be positive"
            )
        self.query_ids = tuple(queries)
        self.doc_ids = tuple(sorted(corpus, reverse=True))
        k = min(depth, len(self.doc_ids))
        self._best = search.TopK(len(self.query_ids), k)
        position = {doc: i for i, doc in enumerate(self.doc_ids)} if ignore_identical_ids else {}
        self._excluded = torch.tensor([position.get(query, -1) for query in self.query_ids])

    def update(self, scores: torch.Tensor, first_query: int, first_doc: int) -> None:
        """Take in float32 scores (q, n) of queries `first_query`… with documents `first_doc`…; -inf means "do not rank"."""
        rows = slice(first_query, first_query + len(scores))
        own = self._excluded[rows] - first_doc
        hit = ((own >= 0) & (own < scores.shape[1])).nonzero().squeeze(1)
        scores[hit, own[hit]] = -torch.inf
        self._best.update(scores, first_query, first_doc)

    def ranking(self) -> Ranking:
        """What was kept, in order."""
        index, scores = self._best.best()
        return Ranking(self.query_ids, self.doc_ids, index, scores)


def _blocks(queries: int, documents: int) -> Iterator[tuple[slice, slice]]:
    for columns in search.spans(documents, _DOCUMENT_BLOCK):
        for rows in search.spans(queries, _QUERY_BLOCK):
            yield rows, columns


def rank_by_rows(top: TopK, rows: Iterable[np.ndarray]) -> None:
    """Feed whole rows of scores (N,) float32, in the order of `top.doc_ids`, for the queries in turn."""
    for number, row in enumerate(rows):
        top.update(torch.from_numpy(row)[None], number, 0)
