"""The best K documents of each query, with bounded memory and one order for ties.

Every kind of search ends here: products of vectors, BM25, and anything else that scores documents
in blocks. Ties matter if scores repeat (BM25 on short texts, identical vectors). torch's `topk`
keeps any of them, this class keeps the first ones.

Letters: Q queries, N documents, K kept.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from bothways.errors import InputError

# 256 queries x 8,192 documents in float32 need about 50 MB, with the masks of the selection
QUERY_TILE = 256
DOCUMENT_BLOCK = 8192


class TopK:
    """The running best K documents of each query.

    Documents must arrive in order, so that the earlier of two equals wins.
    """

    def __init__(self, queries: int, depth: int) -> None:
        """Reserve space for Q queries and K = `depth` documents each.

        Raises:
            InputError: if there are no queries, or if depth is below 1.
        """
        if queries < 1 or depth < 1:
            raise InputError(
                f"cannot keep the best {depth} documents of {queries} queries; both must be positive"
            )
        self._scores = torch.full((queries, depth), -torch.inf)
        self._index = torch.full((queries, depth), -1, dtype=torch.int64)

    def update(self, scores: Tensor, first_query: int, first_document: int) -> None:
        """Add float32 scores (q, n), with -inf for "never".

        Args:
            scores: scores of q queries with n documents.
            first_query: number of the first of these queries.
            first_document: number of the first of these documents.
        """
        rows = slice(first_query, first_query + len(scores))
        index = torch.arange(first_document, first_document + scores.shape[1]).expand(
            len(scores), -1
        )
        merged = torch.cat([self._scores[rows], scores], dim=1)
        best = largest(merged, self._scores.shape[1])
        self._scores[rows] = merged.gather(1, best)
        self._index[rows] = torch.cat([self._index[rows], index], dim=1).gather(1, best)

    def insert(self, query: int, documents: np.ndarray, scores: np.ndarray) -> None:
        """Add scores of one query with documents that all come after the earlier ones.

        Args:
            query: number of the query.
            documents: (n,) numbers of the documents.
            scores: (n,) float32.
        """
        order = np.argsort(documents)
        documents, scores = documents[order], scores[order]
        merged = torch.cat([self._scores[query], torch.from_numpy(scores)])[None]
        index = torch.cat([self._index[query], torch.from_numpy(documents)])
        best = largest(merged, self._scores.shape[1])[0]
        self._scores[query], self._index[query] = merged[0, best], index[best]

    def floors(self) -> np.ndarray:
        """Return the lowest score kept for each query, (Q,) float32.

        It is -inf while there is room.
        """
        return self._scores.min(dim=1).values.numpy()

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """Return documents (Q, K) int64 and scores (Q, K) float32, best first.

        If a query has fewer documents, the rest is -1 and -inf.
        """
        # the kept columns are in document order, and a stable sort keeps equals in it
        scores, order = self._scores.sort(dim=1, descending=True, stable=True)
        index = self._index.gather(1, order).masked_fill(scores == -torch.inf, -1)
        return index.numpy(), scores.numpy()


def largest(values: Tensor, k: int) -> Tensor:
    """Return the columns (q, k) of the k largest values of each row, ascending.

    Of values equal to the k-th, the first ones are taken.
    """
    threshold = values.topk(k, dim=1).values[:, -1:]
    above = values > threshold
    tied = values == threshold
    room = k - above.sum(dim=1, keepdim=True)
    keep = above | (tied & (tied.cumsum(dim=1) <= room))
    return keep.nonzero()[:, 1].view(len(values), k)


def spans(count: int, size: int) -> Iterator[slice]:
    """Yield [0, count) in slices of at most `size`."""
    for first in range(0, count, size):
        yield slice(first, min(first + size, count))
