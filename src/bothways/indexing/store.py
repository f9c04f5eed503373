"""What an index asks of its store. Each store is one file: lance, faiss, qdrant, postgres.

A store holds rows (`rows.Entry`), a vector for each, and the settings. The vectors are prepared for
the index's similarity (`bothways.similarity`). A store never computes a score that a user sees:
`nearest` gives candidates, and `searching.Index` computes their scores in float64. So all stores
give the same results.

Letters: n rows, D numbers of a vector.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bothways.errors import InputError
from bothways.indexing.filters import Condition
from bothways.indexing.index_rows import Entry
from bothways.indexing.settings import IndexSettings
from bothways.similarity_names import Similarity

NO_SIGNS = (
    "{place}: does not keep binary vectors; use a folder (LanceDB) or a .faiss file with --to, "
    "or leave --precision out"
)


class RemovedIndex(InputError):
    """An index that was open is not at its place any more. It may come back."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"{place}: the index was removed; put it back or index again, and searches go on"
        )


class Near(NamedTuple):
    """Candidates of a search: rows (their text may be ""), and their vectors (n, D) float32."""

    entries: list[Entry]
    vectors: np.ndarray


class Stored(NamedTuple):
    """Passages of one text that has been encoded before: spans and vectors (n, D) float32."""

    spans: list[tuple[int, int]]
    vectors: np.ndarray


class Store(ABC):
    """Rows, vectors and settings at one place.

    Attributes:
        place: the place as the user named it, for messages.
        words: folder for the words of a hybrid search. None if the store is on a server.
        keeps_signs: whether it can keep the signs of vectors, and find rows by them.
    """

    place: str
    words: Path | None = None
    keeps_signs: bool = False

    @abstractmethod
    def settings(self) -> IndexSettings:
        """Read the settings."""

    @abstractmethod
    def write_settings(self, settings: IndexSettings) -> None:
        """Replace the settings."""

    @abstractmethod
    def documents(self) -> Iterator[tuple[bytes, bytes, str]]:
        """Yield (document, digest, source) of each row. A document may come several times."""

    @abstractmethod
    def known(self, digests: Sequence[bytes]) -> dict[bytes, Stored]:
        """Find passages and vectors of texts that the store holds at any place."""

    @abstractmethod
    def add(self, entries: Sequence[Entry], vectors: np.ndarray) -> None:
        """Add rows with vectors (n, D) float32, all of them or none."""

    @abstractmethod
    def remove(self, documents: Sequence[bytes]) -> None:
        """Remove all rows of documents."""

    @abstractmethod
    def finish(self, *, approximate: bool) -> None:
        """Tidy up after many changes.

        If `approximate`, build what makes a search faster for the similarity of the settings.
        """

    @abstractmethod
    def nearest(
        self,
        query: np.ndarray,
        count: int,
        where: Condition | None,
        *,
        exact: bool,
        similarity: Similarity,
    ) -> Near:
        """Find the most similar rows to a query (D,), best first.

        Args:
            query: a prepared vector.
            count: number of rows. Fewer if there are fewer.
            where: a condition that rows satisfy.
            exact: read all vectors, even if the store has something faster.
            similarity: that of the settings.
        """

    def nearest_by_signs(self, query: np.ndarray, count: int, where: Condition | None) -> Near:
        """Find the rows that have the most signs in common with a query (D,), best first.

        Args:
            query: a vector.
            count: number of rows. Fewer if there are fewer.
            where: a condition that rows satisfy.

        Raises:
            InputError: the store does not keep signs.
        """
        raise InputError(NO_SIGNS.format(place=self.place))

    @abstractmethod
    def texts(self) -> Iterator[Entry]:
        """Yield all rows."""

    @abstractmethod
    def entries(self, ids: Sequence[bytes]) -> dict[bytes, Entry]:
        """Read rows by their names. Names that the store does not hold are left out."""

    @abstractmethod
    def matching(self, where: Condition) -> set[bytes]:
        """Find the names of all rows that satisfy a condition."""

    @abstractmethod
    def count(self) -> int:
        """Count the rows."""

    def version(self) -> object:
        """Return a value that changes when another process has changed the index.

        Raises:
            RemovedIndex: the index is not there any more.
        """
        return None

    def is_whole(self) -> bool:
        """Tell if everything that `finish` writes is there and undamaged."""
        return True

    @abstractmethod
    def close(self) -> None:
        """Free what the store holds."""


def shown(name: str) -> str:
    """Write a place for messages, without a password."""
    return re.sub(r"://([^/@:]*):[^/@]*@", r"://\1:…@", name)
