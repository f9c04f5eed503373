"""The rows of an index: a passage or whole text, with its place, its digests and its vector.

A document's name contains the place and the digest of its text. So a text that was changed or moved
has another name, and nothing else needs to be compared.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

SIZE = 16
"""Bytes of a name or digest. Two of 10^12 texts share one with a probability of 10^-15."""


class Entry(NamedTuple):
    """A row without its vector.

    Args:
        id: name of the row (16 bytes).
        document: name of the text at its place (16 bytes).
        digest: of the text alone (16 bytes), by which known vectors are found again.
        source: the source that it was read from, as the user named it.
        file: file or dataset.
        row: row in the file, as `encode` counts it.
        start: first character of the passage in the text of the row.
        end: the character after its last one.
        text: the passage.
    """

    id: bytes
    document: bytes
    digest: bytes
    source: str
    file: str
    row: int
    start: int
    end: int
    text: str

    @property
    def order(self) -> tuple[str, int, int, int]:
        """The order of rows with equal scores: by file, row and span."""
        return self.file, self.row, self.start, self.end


COLUMNS = Entry._fields


@dataclass(frozen=True)
class Hit:
    """A result of a search.

    Args:
        file: file or dataset of the text.
        row: its row there, as `encode` counts it.
        span: first character of the passage in the text, and the one after its last.
        score: similarity, for example a cosine in [-1, 1]. Of a hybrid search, the sum of
            1 / (60 + rank) over both rankings.
        text: the passage.
    """

    file: str
    row: int
    span: tuple[int, int]
    score: float
    text: str


@dataclass
class Changes:
    """What `index` did, in texts.

    Args:
        encoded: texts that were encoded.
        copied: texts that are equal to others, and share their vectors.
        moved: texts that are at another place now, with the vectors that they had.
        kept: texts that were there.
        removed: texts that are in no source any more.
        rows: rows of the index now.
    """

    encoded: int = 0
    copied: int = 0
    moved: int = 0
    kept: int = 0
    removed: int = 0
    rows: int = 0


def digest_of(text: str) -> bytes:
    """Compute the digest of a text, 16 bytes."""
    return _hash(text.encode("utf-8", "surrogatepass"))


def document_name(source: str, file: str, row: int, digest: bytes) -> bytes:
    """Compute the name of a text at its place, 16 bytes."""
    place = f"{source}\0{file}\0{row}\0".encode("utf-8", "surrogatepass")
    return _hash(place + digest)


def row_name(document: bytes, start: int, end: int) -> bytes:
    """Compute the name of a passage of a document, 16 bytes."""
    return _hash(document + f"{start} {end}".encode())


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:SIZE]
