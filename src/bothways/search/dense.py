"""The nearest documents by a similarity: exactly, block by block, or with FAISS.

For each call, the exact search reads the vectors on disk once. It keeps one block of them and one
tile of scores in memory. FAISS (Douze et al. 2024, arXiv 2401.08281) uses a flat index, which is
exact too. It keeps all vectors in memory and is faster on some machines.

The last bit of a float32 product depends on the position of a document in its block, and FAISS
keeps any of the documents that tie. So a few more documents than wanted are kept, and more still if
their numbers hardly differ. Their scores are computed again in float64, one query at a time. The
result does not depend on blocks or backend. `bothways.similarity` has both numbers.

Letters: q queries, N documents, D numbers, K kept.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

from bothways.errors import InputError, MissingExtra
from bothways.search.topk import DOCUMENT_BLOCK, QUERY_TILE, TopK, spans
from bothways.search.vector_shards import Shards
from bothways.similarity import as_nearness, nearness, noise, scores
from bothways.similarity_names import Similarity

Backend = Literal["exact", "faiss"]

SPARE = 16  # kept beyond K, for documents with an order that the last bit decides


def check_backend(backend: str) -> None:
    """Check that a backend can be used.

    Raises:
        InputError: if it is unknown.
        MissingExtra: if it is "faiss" and faiss is not installed.
    """
    if backend not in ("exact", "faiss"):
        raise InputError(f"backend: {backend!r}; expected 'exact' or 'faiss'")
    if backend == "faiss":
        try:
            import faiss  # noqa: F401
        except ImportError:
            raise MissingExtra("faiss-cpu", "mine", "searching with backend faiss") from None


def faiss_metric(similarity: Similarity) -> int:
    """Return FAISS's number of a similarity. Its Euclidean distances are squared."""
    import faiss

    metric: int = {"euclidean": faiss.METRIC_L2, "manhattan": faiss.METRIC_L1}.get(
        similarity, faiss.METRIC_INNER_PRODUCT
    )
    return metric


class DenseIndex:
    """A search over the first `stop` vectors in `shards`."""

    def __init__(
        self,
        shards: Shards,
        stop: int,
        *,
        similarity: Similarity = "dot",
        backend: Backend = "exact",
        block: int | None = None,
        tile: int | None = None,
    ) -> None:
        """Prepare the search.

        Args:
            shards: vectors of the documents.
            stop: number of documents that may be found, from the start.
            similarity: how vectors are compared. Cosines need unit vectors, see `prepared`.
            backend: "exact" or "faiss".
            block: documents of one product. It bounds memory and changes nothing else.
            tile: queries of one product. It bounds memory and changes nothing else.

        Raises:
            InputError: if the backend is unknown.
            MissingExtra: if faiss is not installed.
        """
        check_backend(backend)
        self.shards, self.stop, self.similarity = shards, stop, similarity
        self._longest: float | None = 1.0 if similarity == "cosine" else None
        self.block, self.tile = block or DOCUMENT_BLOCK, tile or QUERY_TILE
        self._faiss: Any = self._build() if backend == "faiss" else None

    def search(
        self, queries: np.ndarray, depth: int, *, floors: np.ndarray | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return documents (k,) int64 and scores (k,) float32 of each query, best first.

        Among equal scores the earlier document comes first.

        Args:
            queries: (q, D) float32.
            depth: K. Fewer documents are returned if there are fewer.
            floors: (q,) scores below which a document is not useful. Most of those are left out,
                which saves time.

        Raises:
            InputError: if the queries have another width than the documents.
        """
        if queries.shape[1] != self.shards.width:
            raise InputError(
                f"query vectors have {queries.shape[1]} dimensions, document vectors {self.shards.width}"
            )
        lowest = as_nearness(
            np.full(len(queries), -np.inf, np.float32) if floors is None else floors,
            self.similarity,
        )
        lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
        found: list[tuple[np.ndarray, np.ndarray]] = [
            (np.empty(0, np.int64), np.empty(0, np.float32))
        ] * len(queries)
        rows, wanted = np.arange(len(queries)), min(depth + SPARE, self.stop)
        while len(rows):
            places, near = self._nearest(queries[rows], wanted)
            open_ended = np.zeros(len(rows), dtype=bool)
            # If more than SPARE documents are about as near as the last one, any of them may win.
            if wanted < self.stop:
                limits = np.maximum(near[:, depth - 1], lowest[rows])
                open_ended = near[:, -1] >= limits - self._error(lengths[rows], limits)
            floor = lowest[rows]
            error = self._error(lengths[rows], np.where(np.isfinite(floor), floor, 0))
            useful = (places >= 0) & (near >= (floor - error)[:, None])
            for row, at, kept, later in zip(rows, places, useful, open_ended):
                if not later:
                    found[row] = self._sorted(queries[row], at[kept], depth)
            rows, wanted = rows[open_ended], min(2 * wanted, self.stop)
        return found

    def scores(self, query: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return the scores (k,) float32 of one query (D,) with these documents.

        They are computed in float64.
        """
        found: np.ndarray = scores(query[None], self.shards.rows(places), self.similarity)[0]
        return found.astype(np.float32)

    def _sorted(
        self, query: np.ndarray, places: np.ndarray, depth: int
    ) -> tuple[np.ndarray, np.ndarray]:
        found = self.scores(query, places)
        order = np.lexsort((places, -found))[:depth]
        return places[order], found[order]

    def _error(self, lengths: np.ndarray, near: np.ndarray) -> np.ndarray:
        """Bound the error of `nearness` (q,) of queries whose vectors have these lengths."""
        assert self._longest is not None
        return noise(self.similarity, lengths, self._longest, near)

    def _nearest(self, queries: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        """Return documents (q, wanted) and their float32 `nearness`, best first.

        Ties are not settled yet.
        """
        if self._longest is None:
            blocks = self.shards.blocks(self.block, self.stop)
            self._longest = max(float(np.linalg.norm(part, axis=1).max()) for _, part in blocks)
        return (
            self._by_faiss(queries, wanted)
            if self._faiss is not None
            else self._by_blocks(queries, wanted)
        )

    def _by_blocks(self, queries: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        top = TopK(len(queries), wanted)
        rows = torch.from_numpy(np.ascontiguousarray(queries))
        for first, documents in self.shards.blocks(self.block, self.stop):
            columns = torch.from_numpy(documents)
            for tile in spans(len(rows), self.tile):
                top.update(nearness(rows[tile], columns, self.similarity), tile.start, first)
        return top.best()

    def _by_faiss(self, queries: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        near, places = self._faiss.search(np.ascontiguousarray(queries), wanted)
        sign = 1 if self.similarity in ("cosine", "dot") else -1  # distances grow
        return np.asarray(places), sign * np.asarray(near)

    def _build(self) -> Any:
        import faiss

        index = faiss.IndexFlat(self.shards.width, faiss_metric(self.similarity))
        for _, documents in self.shards.blocks(self.block, self.stop):
            index.add(documents)
        return index
