"""Cuts a stream of texts into shards. The cuts depend on the texts alone."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

Places = deque[tuple[str, int]]
"""File and row of texts that have been read."""
CHARACTERS = 64_000_000
"""Characters after which a shard ends early, so that long documents stay within memory."""


@dataclass(frozen=True)
class ShardTexts:
    """The texts of one shard.

    Attributes:
        number: number of the shard, from 0.
        first: number of its first text among all texts, from 0.
        texts: the texts.
        places: file and row of each.
    """

    number: int
    first: int
    texts: Sequence[str]
    places: Sequence[tuple[str, int]]

    @property
    def name(self) -> str:
        """Name of the shard's file."""
        return shard_name(self.number)

    @property
    def span(self) -> str:
        """The shard and its texts, for messages."""
        return f"{self.name} (texts {self.first} to {self.first + len(self.texts) - 1})"

    def digest(self) -> str:
        """Compute the SHA-256 of the texts and their places."""
        found = hashlib.sha256()
        for text, (file, row) in zip(self.texts, self.places):
            raw = text.encode("utf-8")
            found.update(f"{file}\n{row}\n{len(raw)}\n".encode("utf-8", "surrogateescape"))
            found.update(raw)
        return found.hexdigest()


def shard_name(number: int) -> str:
    """Return the name of a shard's file, for example "shard-000001.parquet"."""
    return f"shard-{number:06d}.parquet"


def cut_shards(texts: Iterable[str], places: Places, rows: int) -> Iterator[ShardTexts]:
    """Yield shards of `rows` texts, or of fewer if they are long.

    It reads no further ahead than one shard.

    Args:
        texts: the stream.
        places: receives file and row of each text before the text is yielded.
        rows: texts of a shard, at least 1.
    """
    number = first = characters = 0
    held: list[str] = []
    for text in texts:
        held.append(text)
        characters += len(text)
        if len(held) == rows or characters >= CHARACTERS:
            yield ShardTexts(number, first, held, [places.popleft() for _ in held])
            number, first, held, characters = number + 1, first + len(held), [], 0
    if held:
        yield ShardTexts(number, first, held, [places.popleft() for _ in held])
