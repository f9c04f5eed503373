"""The shards of a source that streams: its files, or the shards of a hub dataset.

A shard is read from its beginning each time. To go on in the middle of one, its items are read
again up to there. So data of one huge file streams too, but a run resumes sooner if the data is cut
into shards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

from bothways.data.columns import DOCUMENT_TEXT, TEXT, NoKnownColumn
from bothways.data.labeled.beir import is_beir
from bothways.data.labeled.example_reader import ExampleReader
from bothways.data.rows import Row
from bothways.data.splits import warn_left_out
from bothways.data.text.documents import DocumentUnit, txt_documents
from bothways.data.text.readers import iter_texts, texts_of_file, texts_of_rows
from bothways.data.text_sources import (
    TextSource,
    hub_shard_count,
    iter_hub_rows,
    resolve_texts,
)
from bothways.errors import InputError

log = logging.getLogger("bothways")


@dataclass(frozen=True)
class StreamShard:
    """A part of the data that is read from its beginning to its end.

    Attributes:
        name: its name in messages.
        items: reads it: returns an iterator over its items.
    """

    name: str
    items: Callable[[], Iterator[Any]]


class ShardReader(Protocol):
    """Reads one kind of items.

    Attributes:
        other_kind: the error for a file that holds items of another kind.
    """

    other_kind: ClassVar[type[InputError]]

    def of_file(self, path: Path) -> Iterator[Any]:
        """Yield the items of a file."""

    def of_rows(self, label: str, rows: Iterator[Row]) -> Iterator[Any]:
        """Yield the items of the rows of a hub dataset."""

    def embedded(self, name: str) -> Iterator[Any]:
        """Yield the items of the embedded data of this name."""


@dataclass(frozen=True)
class TextReader:
    """Reads texts, or whole documents.

    Attributes:
        column: see `iter_texts`.
        columns: see `iter_texts`.
        unit: how a .txt is cut; see `documents.iter_documents`.
    """

    column: str | None = None
    columns: Sequence[str] = TEXT
    unit: DocumentUnit = "line"
    other_kind: ClassVar[type[InputError]] = NoKnownColumn

    @classmethod
    def documents(cls, column: str | None, unit: DocumentUnit | None) -> TextReader:
        """Return a reader of documents; see `documents.iter_documents`."""
        return cls(column, DOCUMENT_TEXT, unit or "auto")

    def of_file(self, path: Path) -> Iterator[str]:
        """See `ShardReader`."""
        txt = None if self.unit == "line" else txt_documents
        return texts_of_file(path, column=self.column, columns=self.columns, txt=txt)

    def of_rows(self, label: str, rows: Iterator[Row]) -> Iterator[str]:
        """See `ShardReader`."""
        return texts_of_rows(label, rows, column=self.column, columns=self.columns)

    def embedded(self, name: str) -> Iterator[str]:
        """See `ShardReader`."""
        return iter_texts(name, column=self.column)


def shards_of(source: str, reader: ShardReader) -> list[StreamShard]:
    """Return the shards of a source, in its own order. None of them is opened yet.

    For example, shards_of("texts/", TextReader()) has one shard for each file of the folder.

    Raises:
        InputError: a name of no kind, a folder without data, or a source that cannot stream.
        SourceError: the source cannot be found or reached.
    """
    if isinstance(reader, ExampleReader) and is_beir(source):
        raise InputError(
            f"{source}: a BEIR folder is read as a whole and does not stream; convert it with "
            f"`bothways prepare retrieval {source} --out rows.jsonl`, and stream that file"
        )
    found = resolve_texts(source)
    warn_left_out(found.name, found.left_out)
    if found.kind == "embedded":
        return [StreamShard(found.name, partial(reader.embedded, found.name))]
    if found.kind == "hub":
        total = hub_shard_count(found)
        return [
            StreamShard(
                f"{found.label}, shard {number + 1} of {total}",
                partial(_of_hub, found, (number, total), reader),
            )
            for number in range(total)
        ]
    lenient = found.kind == "folder"
    return [
        StreamShard(str(path), partial(_of_file, path, reader, lenient)) for path in found.files
    ]


def _of_hub(source: TextSource, shard: tuple[int, int], reader: ShardReader) -> Iterator[Any]:
    return reader.of_rows(source.label, iter_hub_rows(source, streaming=True, shard=shard))


def _of_file(path: Path, reader: ShardReader, lenient: bool) -> Iterator[Any]:
    """Yield the items of a file. A file of a folder may be of another kind, and is left out."""
    try:
        yield from reader.of_file(path)
    except reader.other_kind as error:
        if not lenient:
            raise
        log.warning("%s; the folder's other files are read without it", error)
