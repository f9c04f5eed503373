"""The words of an index, for hybrid search: BM25 over all rows, kept on disk where possible.

Rows are in the order of file, row and span. The scores are those of `search.bm25`, over the whole
index even if a condition leaves out rows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bothways.atomic import atomic_folder
from bothways.errors import BothwaysError, InputError, MissingExtra
from bothways.indexing.file_digests import FileDigests
from bothways.indexing.index_rows import SIZE
from bothways.indexing.settings import IndexSettings
from bothways.indexing.store import Store
from bothways.search.bm25 import Bm25Index

log = logging.getLogger("bothways")

_GENERATION, _NAMES, _WORDS = "generation.txt", "names.npy", "words"
_DIGESTS = "digests.json"
_PURPOSE = "a hybrid search"


class TextIndex:
    """BM25 over the rows of a store.

    Args:
        names: names of the rows, in order.
        words: their index. If None, no row has a word, and every score is 0.
    """

    def __init__(self, names: Sequence[bytes], words: Bm25Index | None) -> None:
        self.names, self.words = list(names), words
        self._place: dict[bytes, int] | None = None

    @property
    def place(self) -> dict[bytes, int]:
        """The number of each row by its name."""
        if self._place is None:
            self._place = {name: number for number, name in enumerate(self.names)}
        return self._place

    def best(self, query: str, depth: int, among: set[bytes] | None) -> list[bytes]:
        """Rank rows that share a word with a query, best first and earlier rows first.

        Args:
            query: the query.
            depth: maximum number of rows.
            among: the only rows that may be found. If None, all.
        """
        if self.words is None:
            return []
        scores = self.words.scores(query)
        if among is not None:
            allowed = np.fromiter((name in among for name in self.names), bool, len(self.names))
            scores = np.where(allowed, scores, 0)
        found = np.flatnonzero(scores > 0)
        order = np.lexsort((found, -scores[found]))[:depth]
        return [self.names[place] for place in found[order]]


def open_text_index(store: Store, settings: IndexSettings) -> TextIndex:
    """Read the words of an index, or index them now and keep them for the next time.

    Raises:
        MissingExtra: bm25s is not installed.
    """
    folder = store.words
    if folder is not None:
        found = _read(folder, settings.generation)
        if found is not None:
            return found
    log.info("%s: indexing its words for hybrid search", store.place)
    rows = sorted((entry.order, entry.id, entry.text) for entry in store.texts())
    names, texts = [name for _, name, _ in rows], [text for _, _, text in rows]
    del rows  # half of the memory
    words = _words(texts)
    if folder is not None and settings.finished:
        _write(folder, settings.generation, names, words)
    return TextIndex(names, words)


def _words(texts: Sequence[str]) -> Bm25Index | None:
    try:
        return Bm25Index(texts, purpose=_PURPOSE, extra="index")
    except InputError:  # no text has a word in it
        return None


def _read(folder: Path, generation: int) -> TextIndex | None:
    """Read words of this generation. None if there are none, or if they are damaged."""
    try:
        if (folder / _GENERATION).read_text(encoding="ascii") != str(generation):
            return None
        if not (folder / _DIGESTS).is_file():  # an older version wrote them
            return None
        FileDigests(folder, _DIGESTS, "").check()
        names = np.load(folder / _NAMES).view(f"V{SIZE}").reshape(-1)
        words = None
        if (folder / _WORDS).is_dir():
            words = Bm25Index.load(folder / _WORDS, purpose=_PURPOSE, extra="index")
            if words.size != len(names):
                return None
        return TextIndex([bytes(name) for name in names.tolist()], words)
    except MissingExtra:
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError):
            return None
        log.warning("%s: cannot be read (%s), so the words are indexed again", folder, error)
        return None


def _write(folder: Path, generation: int, names: Sequence[bytes], words: Bm25Index | None) -> None:
    """Keep words for the next search. If that fails, say so and go on."""
    try:
        with atomic_folder(folder, replace=True) as part:
            np.save(part / _NAMES, np.frombuffer(b"".join(names), np.uint8).reshape(-1, SIZE))
            if words is not None:
                words.save(part / _WORDS)
            (part / _GENERATION).write_text(str(generation), encoding="ascii")
            files = [path for path in part.rglob("*") if path.is_file()]
            FileDigests(part, _DIGESTS, "").record(files)
    except (BothwaysError, OSError) as error:
        log.warning("%s: the words are not kept for the next search (%s)", folder, error)
