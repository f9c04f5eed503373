"""Rows of a file: one iterator of (row number, columns) for every text format.

Texts, STS pairs and whatever comes later read their files through `iter_rows`, so that a format, its byte-level accidents (a
byte order mark, CRLF, invalid UTF-8, a download cut short) and the row a message names are dealt with once.

Only a line feed ends a line. `str.splitlines` would also split at U+2028, U+0085 and form feeds, which occur inside real texts.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from bothways.errors import BothwaysError, InputError, SourceError

Row = tuple[int, dict[str, Any]]
Keep = Callable[[list[str]], Sequence[str]]

TEXT_COLUMN = "text"  # the column of formats that have none: lines of a .txt, bare strings in JSON
LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # half a UTF-16 pair; JSON can spell it, UTF-8 cannot encode it
_WIKI = re.compile(r"wiki_\d+")
PARQUET_ROWS = 1024  # rows decoded at a time; bounds memory, the value does not change what is read


def iter_rows(path: str | Path, *, keep: Keep | None = None) -> Iterator[Row]:
    """Yield (row number, columns) of a .txt, .json, .jsonl, .csv, .tsv or .parquet file, each also with .gz.

    Row numbers count from 1: the line on which a row starts for line formats (a CSV header is line 1), the position in the list
    for a JSON list, the row for parquet. Blank lines of line formats yield nothing but are counted. CSV follows RFC 4180
    (quotes, quoted line breaks); TSV cells are taken as they stand, as in GLUE and STS releases, where a quote is an ordinary
    character.

    Args:
        path: the file; its suffix names the format.
        keep: given the column names of a format that knows them beforehand (parquet), the ones to decode; others ignore it.

    Raises:
        InputError: unknown suffix, invalid UTF-8, broken JSON, CSV or gzip, ragged rows; names the file and the row.
        SourceError: the file cannot be opened or read.
    """
    path = Path(path)
    kind = format_of(path)
    if kind is None:
        raise InputError(f"{path}: unknown kind of file; expected one of {', '.join(FORMATS)}, each also with .gz")
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    return _parquet(path, keep) if kind == ".parquet" else _READERS[kind](path)


def format_of(path: Path) -> str | None:
    """The format suffix of a file name without .gz, in lower case, or None where it is not one of FORMATS.

    WikiExtractor's files have none (AA/wiki_00): articles between tags are .txt, with its option --json they are .jsonl.
    """
    name = path.name.lower().removesuffix(".gz")
    if _WIKI.fullmatch(name):
        return ".jsonl" if path.is_file() and _begins_with_object(path) else ".txt"
    suffix = Path(name).suffix
    return suffix if suffix in FORMATS else None


def plain_or_gzipped(path: Path) -> Path | None:
    """`path` or `path.gz`, whichever is a file; None where neither is."""
    return next((found for found in (path, path.with_name(f"{path.name}.gz")) if found.is_file()), None)


def find_file(path: Path) -> Path:
    """`path` or `path.gz`, whichever is a file.

    Raises:
        InputError: neither is.
    """
    found = plain_or_gzipped(path)
    if found is None:
        raise InputError(f"{path}: no such file, gzipped or not")
    return found


def _begins_with_object(path: Path) -> bool:
    try:
        with _open(path) as stream:
            return stream.read(1) == b"{"
    except (OSError, EOFError, zlib.error):
        return False  # what is wrong with it is said when it is read


def _open(path: Path) -> BinaryIO:
    try:
        return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]
    except OSError as error:
        raise SourceError(f"{path}: cannot be opened: {error.strerror or error}") from None


def iter_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line with its line end) of a UTF-8 file, also with .gz; split at line feeds only, without byte order mark.

    Raises:
        InputError: UTF-16 or invalid UTF-8, broken gzip; names the row.
        SourceError: the file cannot be opened or read.
    """
    number = 0
    with _open(path) as stream:
        try:
            for number, raw in enumerate(stream, start=1):
                if number == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                        raise InputError(f"{path}, row 1: this is UTF-16; save the file as UTF-8")
                yield number, raw.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise InputError(
                f"{path}, row {number}: byte 0x{byte:02x} at position {error.start + 1} is not UTF-8; save the file as UTF-8"
            ) from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(f"{path}: broken gzip after row {number} ({error}); fetch or compress the file again") from None
        except OSError as error:
            raise SourceError(f"{path}: reading failed after row {number}: {error.strerror or error}") from None


def _chomp(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _txt(path: Path) -> Iterator[Row]:
    for number, line in iter_lines(path):
        if line.strip():
            yield number, {TEXT_COLUMN: _chomp(line)}


def _decode(path: Path, row: int, text: str, remedy: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        row = row + error.lineno - 1
        raise InputError(f"{path}, row {row}: not valid JSON ({error.msg} at column {error.colno}); {remedy}") from None
    except (ValueError, RecursionError) as error:  # integers of more than 4,300 digits; thousands of nested brackets
        raise InputError(f"{path}, row {row}: JSON that cannot be read ({error}); {remedy}") from None


def _as_row(path: Path, number: int, value: Any) -> Row:
    if isinstance(value, str):
        return number, {TEXT_COLUMN: value}
    if not isinstance(value, dict):
        raise InputError(f"{path}, row {number}: a row is an object or a string, this is a JSON {type_name(value)}")
    return number, value


def _jsonl(path: Path) -> Iterator[Row]:
    for number, line in iter_lines(path):
        if line.strip():
            value = _decode(path, number, _chomp(line), "each line must hold one whole object; the file may be cut off")
            yield _as_row(path, number, value)


def _json(path: Path) -> Iterator[Row]:
    """A list of objects or strings; or, as many .json files in the wild, one object a line."""
    first = next((line.lstrip() for _, line in iter_lines(path) if line.strip()), "")
    if not first.startswith("["):
        yield from _jsonl(path)
        return
    text = "".join(line for _, line in iter_lines(path))
    for number, value in enumerate(_decode(path, 1, text, "the file may be cut off"), start=1):
        yield _as_row(path, number, value)


def _csv(path: Path) -> Iterator[Row]:
    # The module refuses cells beyond 131,072 characters by default; whole books are longer. The limit is one per process.
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader((line for _, line in iter_lines(path)), strict=True)
    header: list[str] | None = None
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{path}, row {start}: not valid CSV ({error}); look for an unbalanced quote") from None
        if not cells:
            continue
        if header is None:
            header = _header(path, start, cells)
        else:
            yield start, _table_row(path, start, header, cells)


def _tsv(path: Path) -> Iterator[Row]:
    header: list[str] | None = None
    for number, line in iter_lines(path):
        if not line.strip("\r\n"):
            continue
        cells = _chomp(line).split("\t")
        if header is None:
            header = _header(path, number, cells)
        else:
            yield number, _table_row(path, number, header, cells)


def _header(path: Path, row: int, cells: list[str]) -> list[str]:
    twice = sorted({cell for cell in cells if cells.count(cell) > 1})
    if twice:
        raise InputError(f"{path}, row {row}: the header names column {twice[0]!r} twice; give each column its own name")
    return cells


def _table_row(path: Path, row: int, header: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(header):
        raise InputError(
            f"{path}, row {row}: {len(cells)} cells, but the header has {len(header)}; give every row one cell a column"
        )
    return dict(zip(header, cells))


def _parquet(path: Path, keep: Keep | None) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with _open(path) as stream:
            # parquet is read from its end backwards, which a gzip stream cannot do without unpacking anew each time
            file = pq.ParquetFile(io.BytesIO(stream.read()) if path.name.lower().endswith(".gz") else stream)
            names = file.schema_arrow.names
            columns = list(keep(names)) if keep else names
            for batch in file.iter_batches(batch_size=PARQUET_ROWS, columns=columns):
                for index in range(batch.num_rows):
                    number += 1
                    yield number, {name: batch.column(name)[index].as_py() for name in columns}
    except BothwaysError:
        raise
    except UnicodeDecodeError:
        raise InputError(f"{path}, row {number}: a string that is not UTF-8; write the file with UTF-8 strings") from None
    except (pa.ArrowException, EOFError, zlib.error, gzip.BadGzipFile, OSError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: not readable as parquet after row {number} ({line}); fetch or write the file again"
        ) from None


def type_name(value: Any) -> str:
    """The name a JSON user knows for a Python value's type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    kind = type(value).__name__
    return {"dict": "object", "str": "string"}.get(kind, kind)


def finite_number(value: Any, column: str, where: str) -> float:
    """A finite number from a column, which a table writes as text.

    Raises:
        InputError: the value is none; names `where` and the column.
    """
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    shown = "nothing" if value is None or value == "" else repr(value)
    raise InputError(f"{where}: column {column!r} holds {shown}, not a finite number; correct it or remove the row")


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".txt": _txt,
    ".json": _json,
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".tsv": _tsv,
}
FORMATS = (*_READERS, ".parquet")
