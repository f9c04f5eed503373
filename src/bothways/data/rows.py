"""Rows of a file: one iterator of (row number, columns) for every format.

Every reader uses `iter_rows`. So formats, their accidents (a byte order mark, CRLF, invalid UTF-8,
a download that was cut short) and the row numbers of messages are handled once.
"""

from __future__ import annotations

import gzip
import lzma
import math
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from bothways.data.formats.columnar import Keep, columnar_rows
from bothways.data.formats.compressed import COMPRESSIONS, iter_lines, open_bytes, plain_name
from bothways.data.formats.delimited import Row, csv_rows, tsv_rows
from bothways.data.formats.json_tables import TEXT_COLUMN, json_rows, jsonl_rows, type_name
from bothways.data.formats.partitions import partition_values
from bothways.errors import InputError, SourceError
from bothways.foreign import one_line
from bothways.nearest import did_you_mean

__all__ = [
    "FORMATS",
    "LONE_SURROGATE",
    "TEXT_COLUMN",
    "Keep",
    "Row",
    "find_file",
    "finite_number",
    "format_of",
    "is_table",
    "iter_lines",
    "iter_rows",
    "plain_or_gzipped",
    "type_name",
    "unknown_format",
]

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a UTF-16 pair. JSON can spell it, but UTF-8 cannot encode it."""
_WIKI = re.compile(r"wiki_\d+")

# data that is not read; `unknown_format` tells the remedy
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
_ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar")
_FOREIGN = (
    *(
        ".pkl",
        ".pickle",
        ".h5",
        ".hdf5",
        ".orc",
        ".avro",
        ".npy",
        ".npz",
        ".pt",
        ".sqlite",
        ".db",
        ".duckdb",
        ".dta",
        ".sav",
    ),
    *(".rds", ".rdata", ".xml", ".tfrecord", ".mdb", ".msgpack"),
)
UNREAD = (*_SPREADSHEETS, *_ARCHIVES, *_FOREIGN)


def iter_rows(path: str | Path, *, keep: Keep | None = None) -> Iterator[Row]:
    """Yield (row number, columns) of a file of one of FORMATS, plain or compressed.

    Row numbers count from 1. In line formats a row's number is the line on which it starts, and the
    header of a CSV is line 1. In a JSON list it is the place in the list, and in parquet and Arrow
    the row. Blank lines are counted but give no row. If folders above the file name columns
    (label=sports/), each row has them too, see `partitions`. `delimited` describes tables of text,
    and `json_tables` describes .json files. Columns of row numbers that pandas wrote are left out.

    Args:
        path: the file. Its suffix names the format, and a second one (.gz, .bz2, .xz, .zst) its
            compression.
        keep: chooses the columns to decode from the names of all, for formats that know their
            columns before the first row (parquet, Arrow). Other formats ignore it.

    Raises:
        InputError: an unknown suffix, invalid UTF-8, broken JSON, CSV or archive, or ragged rows.
            Names the file and the row.
        SourceError: the file cannot be opened or read.
    """
    path = Path(path)
    kind = format_of(path)
    if kind is None:
        raise unknown_format(path)
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    rows = columnar_rows(path, keep) if kind in _COLUMNAR else _READERS[kind](path)
    values = {} if keep is not None else partition_values(path)
    return ((number, {**values, **row}) for number, row in rows) if values else rows


def unknown_format(path: Path) -> InputError:
    """Return the error for a file that is not read, with its remedy."""
    suffix = Path(plain_name(path.name)).suffix
    if suffix in _SPREADSHEETS:
        return InputError(
            f"{path}: is a spreadsheet; save the sheet as CSV in UTF-8 and name that file"
        )
    if suffix in _ARCHIVES:
        return InputError(f"{path}: is an archive; unpack it and name the file or folder in it")
    if suffix in _FOREIGN:
        return InputError(
            f"{path}: {suffix} files are not read; write the rows as .jsonl, .csv or .parquet"
        )
    return InputError(
        f"{path}: unknown kind of file; expected one of {', '.join(FORMATS)}, each also with .gz"
        f"{did_you_mean(suffix, FORMATS)}"
    )


def format_of(path: Path) -> str | None:
    """Return the suffix of a file's format in lower case, or None if it is not one of FORMATS.

    The suffix of a compression is left out. Files of WikiExtractor have no suffix (AA/wiki_00):
    they are .txt with articles between tags, or .jsonl with its option --json.
    """
    name = plain_name(path.name)
    if _WIKI.fullmatch(name):
        return ".jsonl" if path.is_file() and _begins_with_object(path) else ".txt"
    suffix = Path(name).suffix
    return suffix if suffix in FORMATS else None


def is_table(path: Path) -> bool:
    """Return whether a file's values are cells of a table of text, which spells lists as text."""
    return format_of(path) in (".csv", ".tsv")


def plain_or_gzipped(path: Path) -> Path | None:
    """Return `path`, or `path` with the suffix of a compression, or None if neither exists."""
    places = [path, *(path.with_name(f"{path.name}{suffix}") for suffix in COMPRESSIONS)]
    return next((found for found in places if found.is_file()), None)


def find_file(path: Path) -> Path:
    """Return `path` or its compressed form, whichever is a file.

    Raises:
        InputError: neither is.
    """
    found = plain_or_gzipped(path)
    if found is None:
        raise InputError(f"{path}: no such file, gzipped or not")
    return found


def _begins_with_object(path: Path) -> bool:
    try:
        with open_bytes(path) as stream:
            return stream.read(1) == b"{"
    except (OSError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile):
        return False  # the error is raised when the file is read


def _txt(path: Path) -> Iterator[Row]:
    for number, line in iter_lines(path):
        if line.strip():
            yield number, {TEXT_COLUMN: line.removesuffix("\n").removesuffix("\r")}


def finite_number(value: object, column: str, where: str) -> float:
    """Return the finite number in a column. Tables write it as text.

    Raises:
        InputError: the value is not a finite number. Names `where` and the column.
    """
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    shown = "nothing" if value is None or value == "" else one_line(repr(value), 80)
    raise InputError(
        f"{where}: column {column!r} holds {shown}, not a finite number; correct it or remove the row"
    )


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".txt": _txt,
    ".json": json_rows,
    ".jsonl": jsonl_rows,
    ".csv": csv_rows,
    ".tsv": tsv_rows,
    ".ndjson": jsonl_rows,
}
_COLUMNAR = (".parquet", ".arrow", ".feather")
FORMATS = (*_READERS, *_COLUMNAR)
