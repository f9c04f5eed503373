"""BM25 as a ranker: the lexical baseline for dense encoders (Robertson & Zaragoza 2009).

Its tokens, parameters and scores are those of `search/bm25.py`, which mining also uses.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from bothways.errors import InputError, MissingExtra
from bothways.search.bm25 import Bm25Index, tokenize
from bothways.search.ranker import Ranking, RunningRanking

__all__ = ["BM25", "tokenize"]


class BM25:
    """A `Ranker` by BM25. For example, `evaluate(BM25(), "stdlib")` gives its scores."""

    name = "bm25"

    def __init__(self, *, k1: float = 1.5, b: float = 0.75) -> None:
        """Set the two parameters.

        Args:
            k1: ≥ 0, how soon repeated words saturate.
            b: in [0, 1], how much long documents are discounted.

        Raises:
            MissingExtra: if bm25s is not installed.
            InputError: if a parameter is out of range.
        """
        try:
            import bm25s  # noqa: F401
        except ImportError:
            raise MissingExtra("bm25s", "eval", "the BM25 baseline") from None
        if k1 < 0 or not 0 <= b <= 1:
            raise InputError(f"BM25 needs k1 >= 0 and 0 <= b <= 1, got k1={k1}, b={b}")
        self.k1, self.b = k1, b

    def rank(
        self,
        queries: Mapping[str, str],
        corpus: Mapping[str, str],
        *,
        depth: int,
        ignore_identical_ids: bool = False,
    ) -> Ranking:
        """Rank documents. One that shares no token with the query is not ranked, as in Lucene.

        Raises:
            InputError: if there are no queries, or if no document has a word in it.
        """
        running = RunningRanking(
            queries, corpus, depth=depth, ignore_identical_ids=ignore_identical_ids
        )
        texts = [corpus[doc] for doc in running.doc_ids]
        index = Bm25Index(texts, purpose="the BM25 baseline", extra="eval", k1=self.k1, b=self.b)
        for number, query in enumerate(queries.values()):
            scores = index.scores(query)
            row = np.where(scores > 0, scores, -np.inf).astype(np.float32)
            running.update(torch.from_numpy(row)[None], number, 0)
        return running.ranking()
