"""Rank documents for queries, by vectors or by any scores, with one order for ties.

Memory is bounded. Evaluation measures these rankings. They use `DenseIndex`, with which mining
searches too. The order is trec_eval's: score descending, then document id descending (scores
compared in single precision, as there). The exact order matters if scores tie: BM25 on short
documents, duplicates, quantized vectors.

Letters: Q queries, N documents, K kept, D numbers in a vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from bothways.errors import InputError
from bothways.search.dense import Backend, DenseIndex, check_backend
from bothways.search.quantized import NONE, Quantization, QuantizedIndex
from bothways.search.topk import TopK
from bothways.search.vector_shards import Shards
from bothways.search.vectors import AnyEncoder, Role, encode_texts
from bothways.similarity import prepared
from bothways.similarity_names import Similarity, similarity_name

# number of documents with vectors in memory: 32,768 x 4,096 in float32 is 0.5 GB
ENCODE_CHUNK = 32768


@dataclass(frozen=True)
class Ranking:
    """The best K documents of each query, best first.

    Attributes:
        query_ids: Q ids.
        doc_ids: N ids, in descending order.
        index: (Q, K) int64, positions in `doc_ids`. -1 if a query has fewer documents.
        scores: (Q, K) float32. -inf if `index` is -1.
    """

    query_ids: tuple[str, ...]
    doc_ids: tuple[str, ...]
    index: np.ndarray
    scores: np.ndarray

    def as_run(self) -> dict[str, dict[str, float]]:
        """Return `{query: {document: score}}`, the form that pytrec_eval and BEIR call a run."""
        return {
            query: {self.doc_ids[i]: float(score) for i, score in zip(row, scores) if i >= 0}
            for query, row, scores in zip(self.query_ids, self.index, self.scores)
        }


@runtime_checkable
class Ranker(Protocol):
    """Anything that ranks texts itself instead of giving vectors, such as BM25."""

    def rank(
        self,
        queries: Mapping[str, str],
        corpus: Mapping[str, str],
        *,
        depth: int,
        ignore_identical_ids: bool = False,
    ) -> Ranking:
        """Return the best `depth` documents of each query."""
        ...


class RunningRanking:
    """The best K documents of each query so far.

    Documents arrive in the order of `doc_ids`. Among equal scores the earlier one wins.
    """

    def __init__(
        self,
        queries: Mapping[str, str],
        corpus: Mapping[str, str],
        *,
        depth: int,
        ignore_identical_ids: bool = False,
    ) -> None:
        """Fix the order of the documents.

        Args:
            queries: text by id, for example `{"q1": "what is BM25"}`. Only the ids matter here.
            corpus: text by id. Only the ids matter here.
            depth: K, reduced to N if the corpus is smaller.
            ignore_identical_ids: if True, never rank a document under a query of the same id. The
                queries of ArguAna and Quora are documents.

        Raises:
            InputError: if there are no queries or no documents, or if depth < 1.
        """
        if not queries or not corpus or depth < 1:
            raise InputError(
                f"cannot rank {len(corpus)} documents for {len(queries)} queries to depth {depth}; all must be positive"
            )
        self.query_ids = tuple(queries)
        self.doc_ids = tuple(sorted(corpus, reverse=True))
        self.depth = min(depth, len(self.doc_ids))
        position = {doc: i for i, doc in enumerate(self.doc_ids)} if ignore_identical_ids else {}
        self._own = [position.get(query, -1) for query in self.query_ids]
        self._best = TopK(len(self.query_ids), self.depth)

    def update(self, scores: torch.Tensor, first_query: int, first_document: int) -> None:
        """Add float32 scores (q, n), with -inf for "do not rank".

        Args:
            scores: scores of q queries with n documents.
            first_query: number of the first of these queries.
            first_document: number of the first of these documents.
        """
        for row, own in enumerate(self._own[first_query : first_query + len(scores)]):
            if 0 <= own - first_document < scores.shape[1]:
                scores[row, own - first_document] = -torch.inf
        self._best.update(scores, first_query, first_document)

    def add(
        self,
        vectors: Shards,
        first_document: int,
        queries: np.ndarray,
        *,
        similarity: Similarity,
        backend: Backend,
    ) -> None:
        """Search a chunk of document vectors for all queries.

        Args:
            vectors: the chunk.
            first_document: number of its first document.
            queries: (Q, D) float32 vectors of all queries.
            similarity: how vectors are compared, see `DenseIndex`.
            backend: "exact" or "faiss".
        """
        index = DenseIndex(vectors, vectors.count, similarity=similarity, backend=backend)
        found = index.search(queries, self._wanted, floors=self._best.floors())
        self._insert(found, first_document)

    def add_quantized(self, index: QuantizedIndex, queries: np.ndarray) -> None:
        """Search all documents at once, in fewer bits, for all queries (Q, D) float32."""
        self._insert(index.search(queries, self._wanted), 0)

    @property
    def _wanted(self) -> int:
        # one more, for the document that is left out
        return self.depth + any(own >= 0 for own in self._own)

    def _insert(self, found: Sequence[tuple[np.ndarray, np.ndarray]], first_document: int) -> None:
        for row, (places, scores) in enumerate(found):
            kept = places + first_document != self._own[row]
            self._best.insert(row, places[kept] + first_document, scores[kept])

    def ranking(self) -> Ranking:
        """Return the kept documents, in order."""
        index, scores = self._best.best()
        return Ranking(self.query_ids, self.doc_ids, index, scores)


def check_quantization(quantization: Quantization, backend: Backend) -> None:
    """Raise InputError if documents are quantized and the backend searches float32 alone."""
    if quantization and backend != "exact":
        raise InputError(
            f"backend: {backend} searches vectors in float32; leave out either backend or precision {quantization.precision}"
        )


class DenseRanker:
    """A ranker by the vectors of an encoder, which is exact for the vectors that it keeps.

    Documents in float32 are encoded chunk by chunk, searched, and forgotten.

    Attributes:
        similarity: how vectors are compared.
    """

    def __init__(
        self,
        encoder: AnyEncoder,
        *,
        similarity: Similarity | None = None,
        backend: Backend = "exact",
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        quantization: Quantization = NONE,
        batch_tokens: int | None = None,
        show_progress_bar: bool | None = None,
    ) -> None:
        """Keep the encoder and its options.

        Args:
            encoder: see `encode_texts`.
            similarity: how to compare vectors. If None, as the encoder says, see `similarity_name`.
            backend: "exact" or "faiss". Both give the same ranking. FAISS is faster on some
                machines.
            query_prompt: prompt of the queries, used instead of the stored one. "" means none. If
                None, use the stored one.
            document_prompt: the same for documents.
            quantization: how documents are kept, see `search.quantized`. With int8 or binary, all
                of them are kept in memory.
            batch_tokens: see `encode_texts`.
            show_progress_bar: see `encode_texts`.

        Raises:
            InputError: if the similarity or the backend is unknown, or if documents are quantized
                and the backend is "faiss" or the similarity is not the cosine.
            MissingExtra: if the backend is "faiss" and faiss is not installed.
        """
        check_backend(backend)
        check_quantization(quantization, backend)
        self.similarity = quantization.check(similarity_name(encoder, similarity))
        self.encoder, self.backend, self.quantization = encoder, backend, quantization
        self.prompts: dict[Role, str | None] = {"query": query_prompt, "document": document_prompt}
        self.batch_tokens, self.show_progress_bar = batch_tokens, show_progress_bar

    def rank(
        self,
        queries: Mapping[str, str],
        corpus: Mapping[str, str],
        *,
        depth: int,
        ignore_identical_ids: bool = False,
    ) -> Ranking:
        """Rank, see `Ranker`.

        In memory are the Q query vectors, one chunk of document vectors and one block of scores.
        Scores are computed in float64 and rounded once to float32, so documents with the same
        vector tie exactly.

        Raises:
            InputError: if there are no queries or documents, if document vectors do not have the
                width of query vectors, or for any reason of `encode_texts`.
        """
        running = RunningRanking(
            queries, corpus, depth=depth, ignore_identical_ids=ignore_identical_ids
        )
        vectors = self._vectors(list(queries.values()), "query")
        index = QuantizedIndex(self.quantization) if self.quantization else None
        for start, chunk in self._chunks(running.doc_ids, corpus):
            if index is not None:
                index.add(chunk)
                continue
            running.add(
                Shards([chunk], len(chunk)),
                start,
                vectors,
                similarity=self.similarity,
                backend=self.backend,
            )
        if index is not None:
            running.add_quantized(index, vectors)
        return running.ranking()

    def _chunks(
        self, doc_ids: Sequence[str], corpus: Mapping[str, str]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first position of each chunk in `doc_ids` and its prepared vectors (n, D)."""
        for start in range(0, len(doc_ids), ENCODE_CHUNK):
            yield (
                start,
                self._vectors(
                    [corpus[doc] for doc in doc_ids[start : start + ENCODE_CHUNK]], "document"
                ),
            )

    def _vectors(self, texts: list[str], role: Role) -> np.ndarray:
        vectors = encode_texts(
            self.encoder,
            texts,
            role,
            prompt=self.prompts[role],
            batch_tokens=self.batch_tokens,
            show_progress_bar=self.show_progress_bar,
        )
        return prepared(vectors, self.similarity)
