r"""BM25 over texts (Robertson & Zaragoza 2009) through the bm25s package: its tokens and its scores.

Tokens: every `\w+` run, lower-cased; and, so that code and prose meet, the parts of each run that is an identifier, split at
underscores and at camelCase humps (`getFileName` → getfilename, get, file, name). English stop words (Lucene's 33) are removed;
nothing is stemmed, so a figure does not depend on which stemmer is installed. k1 = 1.5, b = 0.75 and Lucene's idf are bm25s'
defaults (Lù 2024, arXiv 2407.03618). By option, each character of a script that writes no spaces is a word, as in Lucene's CJK
analysers: without it two Chinese sentences share a word only if they are equal.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from bothways.data.words import words
from bothways.errors import InputError, MissingExtra

K1, B = 1.5, 0.75

_WORD = re.compile(r"\w+")
# capitals before a capitalised word (HTTP|Server), a word with its capital, capitals alone, digits
_HUMP = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")


def tokenize(text: str, *, characters: bool = False) -> list[str]:
    """Lower-cased words of `text` and, right after a word that is a compound identifier, its parts; stop words left out.

    Args:
        text: any text.
        characters: split what is written in a script without spaces into its characters.
    """
    from bm25s.stopwords import STOPWORDS_EN

    return [token for token in _tokens(text, characters) if token not in STOPWORDS_EN]


def _tokens(text: str, characters: bool) -> Iterator[str]:
    for word in _WORD.findall(text):
        if characters and not word.isascii():
            single = words(word)
            if len(single) > 1:
                yield from single
                continue
        yield word.lower()
        # humps are looked for in ASCII runs only, where identifiers live; elsewhere they would cut words (straße at its ß)
        pieces = [_HUMP.findall(piece) if piece.isascii() else [piece] for piece in word.split("_") if piece]
        parts = [part for piece in pieces for part in piece]
        if len(parts) > 1:
            yield from (part.lower() for part in parts)


class Bm25Index:
    """An index of N texts, held in memory: about 8 bytes for each different word of each text."""

    def __init__(
        self,
        texts: Sequence[str],
        *,
        purpose: str,
        extra: str = "mine",
        tokens: Callable[[str], list[str]] = tokenize,
        k1: float = K1,
        b: float = B,
    ) -> None:
        """Index the texts.

        Args:
            texts: N texts.
            purpose, extra: what an error says bm25s is needed for, and the extra that installs it.
            tokens: splits texts and queries.
            k1: ≥ 0, how soon repeated words saturate.
            b: in [0, 1], how much long texts are discounted.

        Raises:
            MissingExtra: bm25s is not installed.
            InputError: no text has a word in it.
        """
        try:
            import bm25s
        except ImportError:
            raise MissingExtra("bm25s", extra, purpose) from None
        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it reports every index it builds
        self.tokens, self.size = tokens, len(texts)
        documents = [tokens(text) for text in texts]
        if not any(documents):
            raise InputError(f"none of the {self.size} documents has a word in it; BM25 has nothing to rank by")
        self._index = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy")
        self._index.index(documents, show_progress=False)

    def scores(self, query: str) -> np.ndarray:
        """(N,) float32 scores, ≥ 0; 0 where no word is shared. A word that the query repeats counts as often."""
        known = [token for token in self.tokens(query) if token in self._index.vocab_dict]
        if not known:
            return np.zeros(self.size, dtype=np.float32)
        return np.asarray(self._index.get_scores(known), dtype=np.float32)
