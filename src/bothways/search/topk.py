"""The best K documents of each query from blocks of scores, at bounded memory, with one order for ties.

It stands apart because every kind of search ends here: products of vectors, BM25, whatever scores documents in blocks. Ties matter
where scores repeat (BM25 on short texts, identical vectors): `topk` of torch keeps any of them, this keeps those that come first.

Letters: Q queries, N documents, K kept.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from bothways.errors import InputError

# 256 queries x 8,192 documents in float32 with the masks of the selection take about 50 MB
QUERY_TILE = 256
DOCUMENT_BLOCK = 8192


class TopK:
    """Running best K of each query. Documents must arrive in their order, so that of equals the earlier one wins."""

    def __init__(self, queries: int, depth: int) -> None:
        """Room for Q queries and K = `depth` documents each.

        Raises:
            InputError: no query, or depth below 1.
        """
        if queries < 1 or depth < 1:
            raise InputError(f"cannot keep the best {depth} documents of {queries} queries; both must be positive")
        self._scores = torch.full((queries, depth), -torch.inf)
        self._index = torch.full((queries, depth), -1, dtype=torch.int64)

    def update(self, scores: Tensor, first_query: int, first_document: int) -> None:
        """Take in float32 scores (q, n) of queries `first_query`… with documents `first_document`…; -inf means "never"."""
        rows = slice(first_query, first_query + len(scores))
        index = torch.arange(first_document, first_document + scores.shape[1]).expand(len(scores), -1)
        merged = torch.cat([self._scores[rows], scores], dim=1)
        best = largest(merged, self._scores.shape[1])
        self._scores[rows] = merged.gather(1, best)
        self._index[rows] = torch.cat([self._index[rows], index], dim=1).gather(1, best)

    def insert(self, query: int, documents: np.ndarray, scores: np.ndarray) -> None:
        """Take scores (n,) float32 of one query with these documents (n,), all later than those before."""
        order = np.argsort(documents)
        documents, scores = documents[order], scores[order]
        merged = torch.cat([self._scores[query], torch.from_numpy(scores)])[None]
        index = torch.cat([self._index[query], torch.from_numpy(documents)])
        best = largest(merged, self._scores.shape[1])[0]
        self._scores[query], self._index[query] = merged[0, best], index[best]

    def floors(self) -> np.ndarray:
        """Return the lowest score kept for each query, (Q,) float32; -inf while there is room."""
        return self._scores.min(dim=1).values.numpy()

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """Documents (Q, K) int64 and scores (Q, K) float32, best first; -1 and -inf where a query has fewer documents."""
        # the kept columns stand in document order, so a stable sort leaves equals in it
        scores, order = self._scores.sort(dim=1, descending=True, stable=True)
        index = self._index.gather(1, order).masked_fill(scores == -torch.inf, -1)
        return index.numpy(), scores.numpy()


def largest(values: Tensor, k: int) -> Tensor:
    """Columns (q, k) of the k largest of each row, ascending; of values equal to the k-th, the first ones."""
    threshold = values.topk(k, dim=1).values[:, -1:]
    above = values > threshold
    tied = values == threshold
    room = k - above.sum(dim=1, keepdim=True)
    keep = above | (tied & (tied.cumsum(dim=1) <= room))
    return keep.nonzero()[:, 1].view(len(values), k)


def spans(count: int, size: int) -> Iterator[slice]:
    """[0, count) in slices of at most `size`."""
    for first in range(0, count, size):
        yield slice(first, min(first + size, count))
