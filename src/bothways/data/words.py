"""Words of a text, its normal form, and BM25 over a few thousand texts: what conversions and overlap removal compare texts by.

Apart from `evaluation/bm25.py`, the published baseline with its stop words and identifier parts, because data preparation must not
depend on evaluation and has to treat scripts without spaces: there every character is a word, as Lucene's CJK analysers start from.
"""

from __future__ import annotations

import logging
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from bothways.errors import MissingExtra

# Thai, Lao, Tibetan, Myanmar, Khmer, Kana, Han and its extensions: written without spaces between words
_UNSPACED = (
    r"\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
_K1, _B = 1.5, 0.75  # bm25s' defaults
_WORD = re.compile(f"[{_UNSPACED}]|[^{_UNSPACED}]+")


class _Punctuation(dict[int, "str | None"]):
    """For `str.translate`: punctuation, spaces and control characters become `to`; filled as characters are met.

    Symbols stay (C++ is not C), and so do combining marks, which belong to the letters of many scripts.
    """

    def __init__(self, to: str | None) -> None:
        super().__init__()
        self.to = to

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        category = unicodedata.category(char)
        self[code] = self.to if category[0] in "PZ" or category in ("Cc", "Cf") else char
        return self[code]


_SPACED, _JOINED = _Punctuation(" "), _Punctuation(None)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def normal_form(text: str) -> str:
    """What is left of a text without case, punctuation and white space, in NFKC: its letters, digits and symbols in order.

    White space goes altogether, so that a tokenised copy ("packages .", "do n't") equals the original. A text of punctuation
    alone is compared by it.
    """
    folded = _folded(text)
    return folded.translate(_JOINED) or "".join(folded.split())


def words(text: str) -> list[str]:
    """The words of a text, case-folded, without punctuation; single characters in scripts that write no spaces."""
    spaced = _folded(text).translate(_SPACED).split()
    return [word for run in spaced for word in ([run] if run.isascii() else _WORD.findall(run))]


class Lexicon:
    """BM25 (Robertson & Zaragoza 2009) over texts, with k1 = 1.5, b = 0.75 and Lucene's idf (arXiv 2407.03618)."""

    def __init__(self, texts: Sequence[str], purpose: str) -> None:
        """Index the texts.

        Raises:
            MissingExtra: bm25s is not installed; `purpose` says what for.
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
        """(N,) float32 scores of every text for `text`, each of its words counted once; 0 where none is shared."""
        if self._index is None:
            return np.zeros(self.size, dtype=np.float32)
        tokens = [word for word in dict.fromkeys(words(text)) if word in self._index.vocab_dict]
        if not tokens:
            return np.zeros(self.size, dtype=np.float32)
        return np.asarray(self._index.get_scores(tokens), dtype=np.float32)

    def own_score(self, text: str) -> float:
        """What `text` would score for itself if it stood in the collection, 0 for a text without words.

        Σ idf(w) · f / (f + k1 (1 - b + b · |text| / average)), over its words w that occur f times each; a word that no text of the
        collection holds has the idf of df = 0.
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
        """The first `depth` texts by score, best first, ties by position; texts that share no word are not ranked."""
        scores = self.scores(text)
        found = np.flatnonzero(scores > 0)
        if len(found) > depth:
            # every text that ties with the last place stays, so that the order of ties decides and not the partition
            limit = np.partition(scores[found], len(found) - depth)[len(found) - depth]
            found = found[scores[found] >= limit]
        return found[np.lexsort((found, -scores[found]))][:depth].tolist()
