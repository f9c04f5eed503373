"""Tables of text: .csv and .tsv of pandas, spreadsheets, Spark, GLUE and STS.

A .csv follows RFC 4180: a cell in quotes may hold commas, line breaks and doubled quotes. Cells are
separated by a comma. If the header has no comma but semicolons, tabs or vertical bars, those
separate cells (spreadsheets of countries with a decimal comma). A first line `sep=;`, which Excel
writes, names the separator too. In a .tsv a quote is an ordinary character, as in GLUE. If all its
quotes are those that pandas would have written, around a cell that holds a tab, a line break or a
quote, they are read as quotes.

Columns without a name are row numbers, because pandas writes its index so. It calls such a column
`Unnamed: 0` when it reads the file again.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bothways.data.formats.compressed import iter_lines
from bothways.errors import InputError

Row = tuple[int, dict[str, Any]]

_INDEX = re.compile(r"(Unnamed: \d+(_level_\d+)?|__index_level_\d+__)?")
_MARKED = re.compile(r"sep=(.)\r?\n?")
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_LINES = 10_000  # the most lines of one quoted cell when the quotes of a .tsv are judged


def is_index(name: str) -> bool:
    """Return whether a column is a row number that pandas wrote, by its name."""
    return _INDEX.fullmatch(name) is not None


def index_columns(names: Iterable[str]) -> set[str]:
    """Return the columns that hold row numbers, or none if no other column would be left."""
    names = list(names)
    found = {name for name in names if is_index(name)}
    return set() if len(found) == len(set(names)) else found


def csv_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a .csv; see the top of this file."""
    lines = (line for _, line in iter_lines(path))
    first = next(lines, "")
    marked = _MARKED.fullmatch(first)
    delimiter = marked[1] if marked else _delimiter(first)
    return _rows(
        path, lines if marked else itertools.chain([first], lines), delimiter, 1 if marked else 0
    )


def tsv_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a .tsv; see the top of this file."""
    if _quoted_as_pandas(path):
        yield from _rows(path, (line for _, line in iter_lines(path)), "\t", 0)
        return
    header: list[str] | None = None
    for number, line in iter_lines(path):
        if not line.strip("\r\n"):
            continue
        cells = line.removesuffix("\n").removesuffix("\r").split("\t")
        if header is None:
            header = _header(path, number, cells)
        else:
            yield number, _row(path, number, header, cells)


def _delimiter(header: str) -> str:
    """Return a comma, or the semicolon, tab or bar of a header that has no comma."""
    header = _QUOTED.sub("", header)
    return next((mark for mark in ";\t|" if mark in header and "," not in header), ",")


def _rows(path: Path, lines: Iterable[str], delimiter: str, before: int) -> Iterator[Row]:
    # by default the module refuses cells over 131,072 characters, and whole books are longer; the
    # limit holds for the process
    csv.field_size_limit(2**31 - 1)
    record: list[str] = []
    reader = csv.reader(_noted(lines, record), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        start = reader.line_num + 1 + before
        record.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            remedy = (
                'its quotes have a backslash before them, as Spark writes them; write the table with .option("escape", \'"\')'
                if any('\\"' in line for line in record)
                else 'look for an unbalanced quote, and write a quote in a cell as ""'
            )
            raise InputError(f"{path}, row {start}: not valid CSV ({error}); {remedy}") from None
        if not cells:
            continue
        if header is None:
            header = _header(path, start, cells)
        else:
            yield start, _row(path, start, header, cells)


def _noted(lines: Iterable[str], record: list[str]) -> Iterator[str]:
    """Yield lines, and add each to `record`."""
    for line in lines:
        record.append(line)
        yield line


def _header(path: Path, row: int, cells: list[str]) -> list[str]:
    twice = sorted({cell for cell in cells if cells.count(cell) > 1})
    if twice:
        raise InputError(
            f"{path}, row {row}: the header names column {twice[0]!r} twice; give each column its own name"
        )
    return cells


def _row(path: Path, row: int, header: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(header):
        raise InputError(
            f"{path}, row {row}: {len(cells)} cells, but the header has {len(header)}; give every row one cell a column"
        )
    index = index_columns(header)
    return {name: cell for name, cell in zip(header, cells) if name not in index}


def _quoted_as_pandas(path: Path) -> bool:
    """Return whether a .tsv has quotes and all of them look like those of pandas.

    pandas puts quotes around the cells that need them, or around every cell.
    """
    width, every, found = 0, False, False
    held: list[str] = []
    for _, line in iter_lines(path):
        if not width:
            width = line.count("\t") + 1
            every = '"' in line and len(_QUOTED.findall(line)) == width
        if not held and '"' not in line:
            continue
        held.append(line)
        if len(held) > _LINES:
            return False
        record = "".join(held)
        if record.count('"') % 2:
            continue
        if not _is_quoted(record.removesuffix("\n").removesuffix("\r"), width, every):
            return False
        found, held = True, []
    return found and not held


def _is_quoted(record: str, width: int, every: bool) -> bool:
    place = count = 0
    while True:
        match = _QUOTED.match(record, place)
        if match:
            if not every and not any(mark in match[1] for mark in '"\t\n\r'):
                return False
            end = match.end()
        else:
            tab = record.find("\t", place)
            end = len(record) if tab < 0 else tab
            if '"' in record[place:end]:
                return False
        count += 1
        if end == len(record):
            return count == width
        if record[end] != "\t":
            return False
        place = end + 1
