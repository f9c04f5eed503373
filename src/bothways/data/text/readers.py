"""Texts for training, from whatever holds them: "any text in".

`iter_texts` streams, `read_texts` collects. Formats are `rows.py`'s business and names of sources `sources.py`'s; here stands
which column is the text, and what happens to texts that cannot be used. Training text may be dropped only when it is empty, and
every change to a text is counted and said: a silently shortened corpus is the hardest bug to notice.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bothways.data.formats.cells import listed
from bothways.data.labeled.pairs import Pairs, read_pairs
from bothways.data.rows import LONE_SURROGATE, Row, format_of, is_table, iter_rows, type_name
from bothways.data.sources import EMBEDDED, Splits, TextSource, iter_hub_rows, resolve_texts
from bothways.data.splits import split_columns, training_rows, warn_left_out
from bothways.errors import InputError

__all__ = ["Pairs", "iter_rows", "iter_texts", "read_pairs", "read_texts"]

log = logging.getLogger("bothways")

# In order of preference. The first five are the usual names of unlabelled text; the others let labelled files serve as text.
TEXT_COLUMNS = ("text", "sentence", "content", "document", "passage", "sentence1", "premise", "question", "query", "title")


def read_texts(
    source: str | Path, *, column: str | None = None, limit: int | None = None, splits: Splits = "training"
) -> list[str]:
    """Read all texts of a source, in order; see `iter_texts`."""
    return list(iter_texts(source, column=column, limit=limit, splits=splits))


def iter_texts(
    source: str | Path,
    *,
    column: str | None = None,
    limit: int | None = None,
    columns: Sequence[str] = TEXT_COLUMNS,
    txt: Callable[[Path], Iterable[Row]] | None = None,
    places: Places | None = None,
    splits: Splits = "training",
) -> Iterator[str]:
    """Stream the texts of a file, folder, hub dataset or the embedded text.

    Texts come as they stand (no stripping, NUL kept), but empty and whitespace-only ones are skipped with a logged count, and
    lone surrogates, which no UTF-8 tokenizer can take, become U+FFFD with one warning.

    Args:
        source: a .txt, .json, .jsonl, .csv, .tsv or .parquet file (each also with .gz); a folder of such files; a hub dataset
            `org/name`, `org/name:config` or `org/name:config/split`; or `python-stdlib`, whose columns are `text` (documents)
            and `sentence` (short texts).
        column: the text's column; by default the first of `columns` that the file's first row has, chosen once a file and
            logged. A folder's file without any of them is passed over with a warning; one without the column asked for is an
            error.
        limit: stop after this many texts, at least 1; None reads everything.
        columns: names that a column of texts may have, in order of preference.
        txt: cuts a .txt into rows; None: every line is one.
        places: gets the file and row of every text before the text is given; whoever writes texts down takes them from there.
        splits: "training" leaves out the files and rows of a folder that are held out (test, validation), and says so; "all" reads
            everything.

    Raises:
        InputError: a broken file, a missing column, a value that is no text (each with file and row), or no text at all.
        SourceError: the source cannot be found or reached.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit: {limit} texts; expected at least 1, or None for all")
    # before the first text is asked for, so that a wrong name fails where it is written
    found = resolve_texts(source, splits=splits)
    warn_left_out(found.name, found.left_out)
    # a few texts of a large hub dataset are read over the network; a whole one is worth a place in the cache
    parts = _parts(found, column, columns, txt, streaming=limit is not None)
    if splits == "training":
        parts = ((label, training_rows(label, rows), chooser) for label, rows, chooser in parts)
    return _texts(found, parts, limit, places)


#: (file or data set, row as `rows.iter_rows` counts) of texts, in order.
Places = deque[tuple[str, int]]
Part = tuple[str, Iterable[Row], "TextColumn"]


def _texts(source: TextSource, parts: Iterable[Part], limit: int | None, places: Places | None) -> Iterator[str]:
    count = 0
    for label, rows, chooser in parts:
        try:
            with contextlib.closing(_clean(label, rows, chooser, places)) as texts:
                for text in texts:
                    count += 1
                    yield text
                    if count == limit:
                        return
        except NoTextColumn as error:
            if source.kind != "folder":
                raise
            log.warning("%s; the folder's other files are read without it", error)
    if count == 0:
        raise InputError(f"{source.label}: holds no text; give at least one that is not empty")


def _parts(
    source: TextSource,
    column: str | None,
    columns: Sequence[str],
    txt: Callable[[Path], Iterable[Row]] | None,
    *,
    streaming: bool,
) -> Iterator[Part]:
    """The source as (label, rows, column) of each file, opened one after the other."""
    if source.kind == "embedded":
        yield EMBEDDED, _embedded_rows(column), TextColumn(EMBEDDED, column)
    elif source.kind == "hub":
        yield source.label, iter_hub_rows(source, streaming=streaming), TextColumn(source.label, column, columns)
    for path in source.files:
        chooser = TextColumn(str(path), column, columns)
        rows = txt(path) if txt is not None and format_of(path) == ".txt" else iter_rows(path, keep=chooser.keep)
        yield str(path), rows, chooser


def _embedded_rows(column: str | None) -> Iterator[Row]:
    from bothways.data.embedded import stdlib

    name = "text" if column is None else column
    columns = {"text": stdlib.training_texts, "sentence": stdlib.training_sentences}
    if name not in columns:
        raise InputError(f"{EMBEDDED}: no column {name!r}; its columns are text (documents) and sentence (short texts)")
    for number, text in enumerate(columns[name](), start=1):
        yield number, {name: text}


class NoTextColumn(InputError):
    """A file none of whose columns is known to hold text; raised at its first row, so that nothing of it was used."""


class TextColumn:
    """The column a file's texts stand in: the one asked for, or chosen at the file's first row."""

    def __init__(self, label: str, column: str | None, columns: Sequence[str] = TEXT_COLUMNS) -> None:
        self.label = label
        self.column = column
        self.columns = columns
        self.table = is_table(Path(label))
        self.seen = False

    def keep(self, names: list[str]) -> list[str]:
        """The columns worth decoding, for formats that know their columns beforehand: the text, and the split if there is one."""
        return list(dict.fromkeys([self._choose(None, names), *split_columns(names)]))

    def text(self, number: int, row: Mapping[str, Any]) -> str:
        """The text of one row.

        Raises:
            InputError: the row has no such column, or its value is no text.
        """
        column = self.column if self.column is not None and self.column in row else self._choose(number, list(row))
        value = row[column]
        if not self.seen and self.table and isinstance(value, str):
            self._refuse_list(number, column, value)
        self.seen = True
        if not isinstance(value, str):
            shown = "" if value is None or isinstance(value, (list, dict, bytes)) else f" ({value!r})"
            raise InputError(
                f"{self.label}, row {number}: column {column!r} holds a {type_name(value)}{shown}, not a text; "
                "remove the row or choose another column"
            )
        return value

    def _refuse_list(self, number: int, column: str, value: str) -> None:
        """A column of lists is told by its first cell; later ones may be texts in brackets."""
        try:
            found = listed(value)
        except ValueError:
            found = [""]
        if found and all(isinstance(item, str) for item in found):
            raise InputError(
                f"{self.label}, row {number}: column {column!r} holds a list, not a text; give each text a row of its own, or choose "
                "another column"
            )

    def _choose(self, number: int | None, names: list[str]) -> str:
        where = self.label if number is None else f"{self.label}, row {number}"
        there = ", ".join(name if len(name) <= 40 else name[:39] + "…" for name in names) or "none"
        if self.column is not None:
            if self.column not in names:
                raise InputError(f"{where}: no column {self.column!r}; the columns there are: {there}")
            return self.column
        self.column = next((name for name in self.columns if name in names), None)
        if self.column is None:
            raise NoTextColumn(f"{where}: no column that is known to hold text; name it with column=, one of: {there}")
        log.info("%s: texts from column %r", self.label, self.column)
        return self.column


def _clean(label: str, rows: Iterable[Row], chooser: TextColumn, places: Places | None = None) -> Generator[str, None, None]:
    """Texts of the rows; empty ones skipped and lone surrogates replaced, both counted and reported when the file is done."""
    empty = surrogates = first = 0
    try:
        for number, row in rows:
            text = chooser.text(number, row)
            if not text or text.isspace():
                empty += 1
                continue
            if LONE_SURROGATE.search(text):
                text = LONE_SURROGATE.sub("\ufffd", text)
                first = first or number
                surrogates += 1
            if places is not None:
                places.append((label, number))
            yield text
    finally:
        if empty:
            log.info("%s: skipped %d empty texts", label, empty)
        if surrogates:
            log.warning("%s: lone surrogates in %d texts became U+FFFD, first in row %d", label, surrogates, first)
