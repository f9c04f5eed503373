"""Exact ranking of documents for queries, at bounded memory, with one order for ties.

Every ranker (vectors, BM25) feeds blocks of scores to the same `TopK`, so that the same measures compare them. The order is
trec_eval's: score descending, then document id descending (scores compared in single precision, as there). Getting it exactly
matters where scores tie: BM25 on short documents, duplicates, quantised vectors.

Names: Q queries, N documents, K kept, D embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from bothways.errors import InputError
from bothways.evaluation.encoding import encode_texts, normalise
from bothways.evaluation.task import RunOptions

# 256 queries x 8,192 documents in float32 with the masks of the selection take about 50 MB
_QUERY_BLOCK = 256
_DOCUMENT_BLOCK = 8192
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

    def __init__(self, encoder: Any, options: RunOptions) -> None:
        self.encoder = encoder
        self.options = options

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
        query_vectors = torch.from_numpy(normalise(encode_texts(self.encoder, list(queries.values()), self.options, "query")))
        for start in range(0, len(top.doc_ids), _ENCODE_CHUNK):
            texts = [corpus[doc] for doc in top.doc_ids[start : start + _ENCODE_CHUNK]]
            documents = torch.from_numpy(normalise(encode_texts(self.encoder, texts, self.options, "document")))
            if documents.shape[1] != query_vectors.shape[1]:
                raise InputError(f"query vectors have {query_vectors.shape[1]} dimensions, documents {documents.shape[1]}")
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
        self._scores = torch.full((len(self.query_ids), k), -torch.inf)
        self._index = torch.full((len(self.query_ids), k), -1, dtype=torch.int64)
        position = {doc: i for i, doc in enumerate(self.doc_ids)} if ignore_identical_ids else {}
        self._excluded = torch.tensor([position.get(query, -1) for query in self.query_ids])

    def update(self, scores: torch.Tensor, first_query: int, first_doc: int) -> None:
        """Take in float32 scores (q, n) of queries `first_query`… with documents `first_doc`…; -inf means "do not rank"."""
        rows = slice(first_query, first_query + len(scores))
        own = self._excluded[rows] - first_doc
        hit = ((own >= 0) & (own < scores.shape[1])).nonzero().squeeze(1)
        scores[hit, own[hit]] = -torch.inf
        index = torch.arange(first_doc, first_doc + scores.shape[1]).expand(len(scores), -1)
        merged = torch.cat([self._scores[rows], scores], dim=1)
        best = _largest(merged, self._scores.shape[1])
        self._scores[rows] = merged.gather(1, best)
        self._index[rows] = torch.cat([self._index[rows], index], dim=1).gather(1, best)

    def ranking(self) -> Ranking:
        """What was kept, in order."""
        # the kept columns stand in document order, so a stable sort leaves equals in it
        scores, order = self._scores.sort(dim=1, descending=True, stable=True)
        index = self._index.gather(1, order).masked_fill(scores == -torch.inf, -1)
        return Ranking(self.query_ids, self.doc_ids, index.numpy(), scores.numpy())


def _largest(values: torch.Tensor, k: int) -> torch.Tensor:
    """Columns (q, k) of the k largest of each row, ascending; of values equal to the k-th, the first ones (topk takes any)."""
    threshold = values.topk(k, dim=1).values[:, -1:]
    above = values > threshold
    tied = values == threshold
    room = k - above.sum(dim=1, keepdim=True)
    keep = above | (tied & (tied.cumsum(dim=1) <= room))
    return keep.nonzero()[:, 1].view(len(values), k)


def _blocks(queries: int, documents: int) -> Iterator[tuple[slice, slice]]:
    for first_doc in range(0, documents, _DOCUMENT_BLOCK):
        for first_query in range(0, queries, _QUERY_BLOCK):
            yield (
                slice(first_query, min(first_query + _QUERY_BLOCK, queries)),
                slice(first_doc, min(first_doc + _DOCUMENT_BLOCK, documents)),
            )


def rank_by_rows(top: TopK, rows: Iterable[np.ndarray]) -> None:
    """Feed whole rows of scores (N,) float32, in the order of `top.doc_ids`, for the queries in turn."""
    for number, row in enumerate(rows):
        top.update(torch.from_numpy(row)[None], number, 0)
