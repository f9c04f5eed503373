"""Columnar tables: .parquet, .arrow and .feather, as pandas, polars and `datasets` write them."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from bothways.data.formats.compressed import compression_of, open_bytes
from bothways.data.formats.delimited import Row, index_columns
from bothways.errors import BothwaysError, InputError

Keep = Callable[[list[str]], Sequence[str]]
PARQUET_ROWS = 1024
"""The number of rows decoded at a time. It bounds memory and does not change the rows."""


def columnar_rows(path: Path, keep: Keep | None) -> Iterator[Row]:
    """Yield the rows of a file, with the columns that `keep` chooses; see `rows.iter_rows`."""
    import pyarrow as pa

    kind = "parquet" if ".parquet" in path.name.lower() or ".parq" in path.name.lower() else "Arrow"
    number = 0
    try:
        with open_bytes(path) as stream:
            # these formats are read backwards from their end, and a compressed stream would be
            # unpacked again for each step
            source = io.BytesIO(stream.read()) if compression_of(path) is not None else stream
            for batch in _batches(path, source, kind, keep):
                names = batch.schema.names
                for index in range(batch.num_rows):
                    number += 1
                    yield number, {name: batch.column(name)[index].as_py() for name in names}
    except BothwaysError:
        raise
    except UnicodeDecodeError:
        raise InputError(
            f"{path}, row {number}: a string that is not UTF-8; write the file with UTF-8 strings"
        ) from None
    except (
        pa.ArrowException,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        gzip.BadGzipFile,
        OSError,
    ) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: not readable as {kind} after row {number} ({line}); fetch or write the file again"
        ) from None


def _batches(path: Path, source: BinaryIO, kind: str, keep: Keep | None) -> Iterator[Any]:
    """Yield record batches that hold the wanted columns."""
    import pyarrow as pa

    if kind == "parquet":
        import pyarrow.parquet as pq

        file = pq.ParquetFile(source)
        columns = _kept(path, file.schema_arrow.names, keep)
        yield from file.iter_batches(batch_size=PARQUET_ROWS, columns=columns)
        return
    start = source.read(8)
    source.seek(0)
    if start.startswith(b"FEA1"):
        import pyarrow.feather as feather

        table = feather.read_table(source)
        yield from table.select(_kept(path, table.schema.names, keep)).to_batches()
        return
    # a file has a footer, but `datasets` writes streams without one
    reader = pa.ipc.open_file(source) if start.startswith(b"ARROW1") else pa.ipc.open_stream(source)
    columns = _kept(path, reader.schema.names, keep)
    batches = (
        (reader.get_batch(place) for place in range(reader.num_record_batches))
        if hasattr(reader, "get_batch")
        else reader
    )
    for batch in batches:
        yield batch.select(columns)


def _kept(path: Path, names: list[str], keep: Keep | None) -> list[str]:
    index = index_columns(names)
    there = [name for name in names if name not in index]
    kept = there if keep is None else list(keep(there))
    twice = next((name for name in kept if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}: has two columns {twice!r}; give each column its own name")
    return kept
