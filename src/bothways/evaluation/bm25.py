r"""BM25, the lexical baseline that a dense encoder has to beat (Robertson & Zaragoza 2009), through the bm25s package.

Tokens: every `\w+` run, lower-cased; and, so that code and prose meet, the parts of each run that is an identifier, split at
underscores and at camelCase humps (`getFileName` → getfilename, get, file, name). English stop words (Lucene's 33) are removed;
nothing is stemmed, so the figure does not depend on which stemmer is installed. k1 = 1.5, b = 0.75 and Lucene's idf are bm25s'
defaults (Lù 2024, arXiv 2407.03618).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping

import numpy as np

from bothways.errors import InputError, MissingExtra
from bothways.evaluation.ranking import Ranking, TopK, rank_by_rows

_WORD = re.compile(r"\w+")
# capitals before a capitalised word (HTTP|Server), a word with its capital, capitals alone, digits
_HUMP = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")


def tokenize(text: str) -> list[str]:
    """Lower-cased words of `text` and, right after a word that is a compound identifier, its parts; stop words left out."""
    from bm25s.stopwords import STOPWORDS_EN

    return [token for token in _tokens(text) if token not in STOPWORDS_EN]


class BM25:
    """A `Ranker`: `evaluate(BM25(), "stdlib")` gives it a row beside the encoders."""

    name = "bm25"

    def __init__(self, *, k1: float = 1.5, b: float = 0.75) -> None:
        """Choose the two parameters.

        Args:
            k1: ≥ 0, how soon repeated words saturate.
            b: in [0, 1], how much long documents are discounted.

        Raises:
            MissingExtra: bm25s is not installed.
            InputError: a parameter out of range.
        """
        try:
            import bm25s  # noqa: F401
        except ImportError:
            raise MissingExtra("bm25s", "eval", "the BM25 baseline") from None
        if k1 < 0 or not 0 <= b <= 1:
            raise InputError(f"BM25 needs k1 >= 0 and 0 <= b <= 1, got k1={k1}, b={b}")
        self.k1, self.b = k1, b

    def rank(
        self, queries: Mapping[str, str], corpus: Mapping[str, str], *, depth: int, ignore_identical_ids: bool = False
    ) -> Ranking:
        """Rank; a document that shares no token with the query is not ranked at all, as in Lucene.

        Raises:
            InputError: no queries, or no documents with a word in them.
        """
        import bm25s

        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it reports every index it builds
        top = TopK(queries, corpus, depth=depth, ignore_identical_ids=ignore_identical_ids)
        documents = [tokenize(corpus[doc]) for doc in top.doc_ids]
        if not any(documents):
            raise InputError(f"none of the {len(documents)} documents has a word in it; BM25 has nothing to rank by")
        index = bm25s.BM25(k1=self.k1, b=self.b, method="lucene", backend="numpy")
        index.index(documents, show_progress=False)

        def rows() -> Iterator[np.ndarray]:
            for query in queries.values():
                tokens = [token for token in tokenize(query) if token in index.vocab_dict]
                scores = index.get_scores(tokens) if tokens else np.zeros(len(documents), dtype=np.float32)
                yield np.where(scores > 0, scores, -np.inf).astype(np.float32)

        rank_by_rows(top, rows())
        return top.ranking()


def _tokens(text: str) -> Iterator[str]:
    for word in _WORD.findall(text):
        yield word.lower()
        # humps are looked for in ASCII runs only, where identifiers live; elsewhere they would cut words (straße at its ß)
        pieces = [_HUMP.findall(piece) if piece.isascii() else [piece] for piece in word.split("_") if piece]
        parts = [part for piece in pieces for part in piece]
        if len(parts) > 1:
            yield from (part.lower() for part in parts)
