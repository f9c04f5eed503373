"""BM25 over a few thousand texts, for conversions and near copies of evaluation texts.

The published BM25 baseline, `bothways.search.bm25`, removes stop words and splits identifiers. This
one compares the words of `bothways.data.words`, so that scripts without spaces work too.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from bothways.data.words import words
from bothways.errors import MissingExtra

_K1, _B = 1.5, 0.75  # defaults of bm25s


class Lexicon:
    """BM25 (Robertson & Zaragoza 2009) with k1 = 1.5, b = 0.75, Lucene's idf (arXiv 2407.03618)."""

    def __init__(self, texts: Sequence[str], purpose: str) -> None:
        """Index N texts.

        Args:
            texts: N texts.
            purpose: the use of the index, for the error if bm25s is missing.

        Raises:
            MissingExtra: bm25s is not installed.
        """
        try:
            import bm25s
        except ImportError:
            raise MissingExtra("bm25s", "mine", purpose) from None
        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it reports every index it builds
        documents = [words(text) for text in texts]
        self.size = len(texts)
        self._holders = Counter(word for document in documents for word in set(document))
        self._average = sum(map(len, documents)) / max(1, self.size)
        self._index = None
        if any(documents):
            self._index = bm25s.BM25(k1=_K1, b=_B, method="lucene", backend="numpy")
            self._index.index(documents, show_progress=False)

    def scores(self, text: str) -> np.ndarray:
        """Return the (N,) float32 scores of every text for `text`.

        Each word of `text` counts once. A text that shares no word with it scores 0.
        """
        if self._index is None:
            return np.zeros(self.size, dtype=np.float32)
        known = self._index.vocab_dict
        tokens = [word for word in dict.fromkeys(words(text)) if word in known]
        if not tokens:
            return np.zeros(self.size, dtype=np.float32)
        return np.asarray(self._index.get_scores(tokens), dtype=np.float32)

    def own_score(self, text: str) -> float:
        """Return the score that `text` would have for itself as a text of the collection.

        Σ idf(w) · f / (f + k1 (1 - b + b · |text| / average)), over its words w that occur f times
        each. A word that no text of the collection holds has the idf of df = 0. A text without
        words scores 0.
        """
        counts = Counter(words(text))
        length = sum(counts.values())
        if not length or not self._average:
            return 0.0
        saturation = _K1 * (1 - _B + _B * length / self._average)
        return sum(self._idf(word) * count / (count + saturation) for word, count in counts.items())

    def _idf(self, word: str) -> float:
        holders = self._holders[word]
        return math.log(1 + (self.size - holders + 0.5) / (holders + 0.5))

    def ranking(self, text: str, depth: int) -> list[int]:
        """Return the places of the first `depth` texts by score, best first, ties by place.

        Texts that share no word with `text` are not ranked.
        """
        scores = self.scores(text)
        found = np.flatnonzero(scores > 0)
        if len(found) > depth:
            # keep every text that ties with the last one, so that the order of ties decides
            limit = np.partition(scores[found], len(found) - depth)[len(found) - depth]
            found = found[scores[found] >= limit]
        best: list[int] = found[np.lexsort((found, -scores[found]))][:depth].tolist()
        return best
