"""Texts for training, read from files, folders and hub datasets.

`iter_texts` streams them and `read_texts` collects them. Formats are read by `bothways.data.rows`,
and names of sources are resolved by `bothways.data.text_sources`. This module decides which column
is the text, and how texts that cannot be used are treated. Only empty texts are left out. Every
change to a text is counted and logged, because a corpus that got shorter in silence is hard to
notice.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bothways.data.columns import TEXT, NoKnownColumn, find_column, read_text
from bothways.data.formats.cells import listed
from bothways.data.labeled.graded_pairs import Pairs, read_pairs
from bothways.data.rows import Row, format_of, is_table, iter_rows
from bothways.data.splits import split_columns, training_rows, warn_left_out
from bothways.data.text_sources import EMBEDDED, Splits, TextSource, iter_hub_rows, resolve_texts
from bothways.errors import InputError
from bothways.printable import utf8_name

__all__ = ["Pairs", "iter_rows", "iter_texts", "read_pairs", "read_texts"]

log = logging.getLogger("bothways")


def read_texts(
    source: str | Path,
    *,
    column: str | None = None,
    limit: int | None = None,
    splits: Splits = "training",
) -> list[str]:
    """Read all texts of a source, in order; see `iter_texts`."""
    return list(iter_texts(source, column=column, limit=limit, splits=splits))


def iter_texts(
    source: str | Path,
    *,
    column: str | None = None,
    limit: int | None = None,
    columns: Sequence[str] = TEXT,
    txt: Callable[[Path], Iterable[Row]] | None = None,
    places: Places | None = None,
    splits: Splits = "training",
) -> Iterator[str]:
    """Stream the texts of a file, a folder, a hub dataset or the embedded text.

    Texts are not changed: they are not stripped, and NUL characters stay. Empty texts and texts of
    white space are skipped, with a logged count. Lone surrogates, which no UTF-8 tokenizer takes,
    become U+FFFD, with one warning for each file. For example, iter_texts("org/name:en/train")
    streams a split of a hub dataset.

    Args:
        source: a .txt, .json, .jsonl, .csv, .tsv or .parquet file, each also compressed. Or a
            folder of such files, a hub dataset `org/name`, `org/name:config` or
            `org/name:config/split`, or `python-stdlib`, which has the columns `text` (documents)
            and `sentence` (short texts).
        column: the column of the text. If None, the first of `columns` in the first row of each
            file, which is logged. A file of a folder that has none of them is skipped with a
            warning. A file without the column that you asked for is an error.
        limit: stop after this many texts, at least 1. If None, read everything.
        columns: the names that a column of texts may have, in order of preference.
        txt: cuts a .txt into rows. If None, each line is one.
        places: receives the file and row of every text before the text is yielded.
        splits: "training" leaves out the files and rows that a folder holds out (test and
            validation) and logs it. "all" reads everything.

    Raises:
        InputError: a broken file, a missing column, a value that is not a text, or no text at all.
            Names the file and the row.
        SourceError: the source cannot be found or reached.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit: {limit} texts; expected at least 1, or None for all")
    # resolved before the first text is asked for, so that a wrong name fails at once
    found = resolve_texts(source, splits=splits)
    warn_left_out(found.name, found.left_out)
    # a few texts of a large hub dataset are streamed; a whole dataset is worth a place in the cache
    parts = _parts(found, column, columns, txt, streaming=limit is not None)
    if splits == "training":
        parts = ((label, training_rows(label, rows), chooser) for label, rows, chooser in parts)
    return _texts(found, parts, limit, places)


Places = deque[tuple[str, int]]
"""The file or dataset and the row of each text, in order. Rows count as in `rows.iter_rows`."""

Part = tuple[str, Iterable[Row], "TextColumn"]


def _texts(
    source: TextSource, parts: Iterable[Part], limit: int | None, places: Places | None
) -> Iterator[str]:
    count = 0
    for label, rows, chooser in parts:
        try:
            with contextlib.closing(_usable(label, rows, chooser, places)) as texts:
                for text in texts:
                    count += 1
                    yield text
                    if count == limit:
                        return
        except NoKnownColumn as error:
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
    """Yield (label, rows, column) of each file of a source. A file is opened when it is reached."""
    if source.kind == "embedded":
        if source.name != EMBEDDED:
            raise InputError(f"{source.name}: holds pairs; for texts name {EMBEDDED}")
        yield EMBEDDED, _embedded_rows(column), TextColumn(EMBEDDED, column)
    elif source.kind == "hub":
        rows: Iterable[Row] = iter_hub_rows(source, streaming=streaming)
        yield source.label, rows, TextColumn(source.label, column, columns)
    for path in source.files:
        yield _part(path, column, columns, txt)


def _part(
    path: Path,
    column: str | None,
    columns: Sequence[str],
    txt: Callable[[Path], Iterable[Row]] | None,
) -> Part:
    chooser = TextColumn(str(path), column, columns)
    by_txt = txt is not None and format_of(path) == ".txt"
    rows = txt(path) if by_txt and txt is not None else iter_rows(path, keep=chooser.keep)
    return str(path), rows, chooser


def texts_of_file(
    path: Path,
    *,
    column: str | None = None,
    columns: Sequence[str] = TEXT,
    txt: Callable[[Path], Iterable[Row]] | None = None,
) -> Iterator[str]:
    """Stream the training texts of one file, which may hold none; see `iter_texts`.

    Raises:
        NoKnownColumn: none of `columns` is there.
        InputError: as `iter_texts`.
    """
    label, rows, chooser = _part(path, column, columns, txt)
    return _usable(label, training_rows(label, rows), chooser, None)


def texts_of_rows(
    label: str,
    rows: Iterable[Row],
    *,
    column: str | None = None,
    columns: Sequence[str] = TEXT,
) -> Iterator[str]:
    """Stream the training texts of rows that are read already; see `texts_of_file`.

    Args:
        label: the name of their source in messages.
        rows: numbers and columns.
        column: see `iter_texts`.
        columns: see `iter_texts`.
    """
    chooser = TextColumn(label, column, columns)
    return _usable(label, training_rows(label, rows), chooser, None)


def _embedded_rows(column: str | None) -> Iterator[Row]:
    from bothways.data.embedded import stdlib

    name = "text" if column is None else column
    columns = {"text": stdlib.training_texts, "sentence": stdlib.training_sentences}
    if name not in columns:
        raise InputError(
            f"{EMBEDDED}: no column {name!r}; its columns are text (documents) and sentence (short texts)"
        )
    for number, text in enumerate(columns[name](), start=1):
        yield number, {name: text}


class TextColumn:
    """The column of a file that holds its texts, and the count of texts that were repaired.

    The column is the one asked for, or is chosen at the first row of the file.
    """

    def __init__(self, label: str, column: str | None, columns: Sequence[str] = TEXT) -> None:
        self.label = label
        self.column = column
        self.columns = columns
        self.table = is_table(Path(label))
        self.seen = False
        self.repaired = 0
        self.first_repaired = 0

    def keep(self, names: list[str]) -> list[str]:
        """Return the columns to decode: the text, and the split if there is one.

        For formats that know their columns before the first row.
        """
        return list(dict.fromkeys([self._choose(None, names), *split_columns(names)]))

    def text(self, number: int, row: Mapping[str, Any]) -> str:
        """Return the text of a row. Lone surrogates become U+FFFD and are counted.

        Raises:
            InputError: the row lacks the column, or its value is not a text.
        """
        known = self.column is not None and self.column in row
        column = self.column if known and self.column else self._choose(number, list(row))
        value = row[column]
        if not self.seen and self.table and isinstance(value, str):
            self._refuse_list(number, column, value)
        self.seen = True
        try:
            text = read_text(f"{self.label}, row {number}", column, value, surrogates="repair")
        except InputError as error:
            raise InputError(f"{error}; remove the row or choose another column") from None
        if text is not value:
            self.repaired += 1
            self.first_repaired = self.first_repaired or number
        return text

    def report(self) -> None:
        """Log how many texts were repaired, if any."""
        if self.repaired:
            log.warning(
                "%s: lone surrogates in %d texts became U+FFFD, first in row %d",
                *(self.label, self.repaired, self.first_repaired),
            )

    def _refuse_list(self, number: int, column: str, value: str) -> None:
        """Refuse a column of lists, by its first cell. Later cells may be texts in brackets."""
        try:
            found = listed(value)
        except ValueError:
            found = [""]
        if found and all(isinstance(item, str) for item in found):
            raise InputError(
                f"{self.label}, row {number}: column {column!r} holds a list, not a text; "
                "give each text a row, or choose another column"
            )

    def _choose(self, number: int | None, names: list[str]) -> str:
        where = self.label if number is None else f"{self.label}, row {number}"
        if self.column is not None:
            return find_column(where, names, (), asked=self.column)
        self.column = find_column(where, names, self.columns, option="column", what="text")
        if len(names) > 1:
            # A file with one column, such as .txt, leaves no choice to tell.
            log.info("%s: texts from column %r", self.label, self.column)
        return self.column


def _usable(
    label: str, rows: Iterable[Row], chooser: TextColumn, places: Places | None
) -> Generator[str, None, None]:
    """Yield the texts of the rows that are not empty, and log the counts when the file is done."""
    empty = 0
    place = utf8_name(label)
    try:
        for number, row in rows:
            text = chooser.text(number, row)
            if not text or text.isspace():
                empty += 1
                continue
            if places is not None:
                places.append((place, number))
            yield text
    finally:
        if empty:
            log.info("%s: skipped %d empty texts", label, empty)
        chooser.report()
