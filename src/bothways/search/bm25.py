r"""BM25 over texts (Robertson & Zaragoza 2009) with the bm25s package: tokens and scores.

A token is a `\w+` run in lower case. If a run is a compound identifier, its parts follow, split at
underscores and at camelCase humps (`getFileName` → getfilename, get, file, name), so that code and
prose share tokens. English stop words (Lucene's 33) are removed. Nothing is stemmed, so a figure
does not depend on the installed stemmer. k1 = 1.5, b = 0.75 and Lucene's idf are the defaults of
bm25s (Lù 2024, arXiv 2407.03618). As an option, each character of a script without spaces is a
word, as in Lucene's CJK analyzers. Without it two Chinese sentences share a word only if they are
equal.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np

from bothways.data.words import words
from bothways.errors import InputError, MissingExtra

K1, B = 1.5, 0.75
_LONG = 64  # characters of a word that is not remembered

_WORD = re.compile(r"\w+")
# capitals before a capitalized word (HTTP|Server), a word with its capital, capitals alone, digits
_HUMP = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")


def tokenize(text: str, *, characters: bool = False) -> list[str]:
    """Return the words of `text` in lower case, without stop words.

    A compound identifier is followed by its parts. For example, "The getFileName" gives
    ["getfilename", "get", "file", "name"].

    Args:
        text: any text.
        characters: if True, split text in a script without spaces into its characters.
    """
    found: list[str] = []
    for word in _WORD.findall(text):
        if len(word) <= _LONG:
            found += _known_tokens(word, characters)
        else:
            found += _tokens(word, characters)
    return found


def _tokens(word: str, characters: bool) -> tuple[str, ...]:
    """Return the tokens of a word, in order."""
    from bm25s.stopwords import STOPWORDS_EN

    return tuple(token for token in _split(word, characters) if token not in STOPWORDS_EN)


# Most words of many texts are repetitions: a text of ten words takes 16 µs instead of 38.
_known_tokens = lru_cache(maxsize=1 << 16)(_tokens)


def _split(word: str, characters: bool) -> Iterator[str]:
    if characters and not word.isascii():
        single = words(word)
        if len(single) > 1:
            yield from single
            return
    yield word.lower()
    # Only ASCII runs are split at humps. Other words would be cut (straße at its ß).
    pieces = [
        _HUMP.findall(piece) if piece.isascii() else [piece] for piece in word.split("_") if piece
    ]
    parts = [part for piece in pieces for part in piece]
    if len(parts) > 1:
        yield from (part.lower() for part in parts)


def _library(extra: str, purpose: str) -> ModuleType:
    try:
        import bm25s
    except ImportError:
        raise MissingExtra("bm25s", extra, purpose) from None
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it reports every index it builds
    library: ModuleType = bm25s
    return library


class Bm25Index:
    """An index of N texts in memory: about 8 bytes for each different word of each text."""

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
            purpose: the purpose that the error names if bm25s is not installed, for example "the
                BM25 baseline".
            extra: the extra that installs bm25s, for the same error.
            tokens: splits texts and queries.
            k1: ≥ 0, how soon repeated words saturate.
            b: in [0, 1], how much long texts are discounted.

        Raises:
            MissingExtra: if bm25s is not installed.
            InputError: if no text has a word in it.
        """
        bm25s = _library(extra, purpose)
        self.tokens, self.size = tokens, len(texts)
        documents = [tokens(text) for text in texts]
        if not any(documents):
            raise InputError(
                f"none of the {self.size} documents has a word in it, so BM25 cannot rank them"
            )
        self._index = bm25s.BM25(k1=k1, b=b, method="lucene", backend="numpy")
        self._index.index(documents, show_progress=False)

    def save(self, folder: Path) -> None:
        """Write the index into a folder, which `load` reads."""
        self._index.save(folder, show_progress=False)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        purpose: str,
        extra: str = "mine",
        tokens: Callable[[str], list[str]] = tokenize,
    ) -> Bm25Index:
        """Read an index that `save` wrote. Its scores stay on the disk until they are needed.

        Args:
            folder: the folder.
            purpose: see `__init__`.
            extra: see `__init__`.
            tokens: splits queries, as it split the texts.

        Raises:
            MissingExtra: if bm25s is not installed.
        """
        bm25s = _library(extra, purpose)
        made = cls.__new__(cls)
        made.tokens = tokens
        made._index = bm25s.BM25.load(folder, mmap=True, show_progress=False)
        made.size = int(made._index.scores["num_docs"])
        return made

    def scores(self, query: str) -> np.ndarray:
        """Return the scores (N,) float32 of a query, ≥ 0.

        A text that shares no word with the query scores 0. A word that the query repeats counts as
        often.
        """
        known = [token for token in self.tokens(query) if token in self._index.vocab_dict]
        if not known:
            return np.zeros(self.size, dtype=np.float32)
        return np.asarray(self._index.get_scores(known), dtype=np.float32)
