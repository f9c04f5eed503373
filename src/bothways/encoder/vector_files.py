"""Vectors of a stream of texts to a file, as they come: memory does not grow with the number of texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bothways.atomic import atomic_file
from bothways.errors import InputError

if TYPE_CHECKING:
    from bothways.data.text.readers import Places
    from bothways.encoder.encoder import Encoder

SUFFIXES = (".npy", ".parquet")
_PLACE = ("file", "row")
_MANY = 10**15  # rows whose number takes as much room in a header as any that will come


def write_vectors(
    encoder: Encoder, texts: Iterable[str], out: Path, options: dict[str, Any], places: Places | None = None
) -> tuple[int, int]:
    """Encode `texts` into `out`, which appears whole or not at all.

    Args:
        encoder: the encoder.
        texts: any number of texts, at least one.
        out: .npy gets the (N, D) float32 array; .parquet a table with the columns text and vector.
        options: keyword arguments of `Encoder.encode_stream`.
        places: of the texts, as `readers.iter_texts` fills it; gives the table the columns file and row.

    Returns:
        (N, D).

    Raises:
        InputError: another suffix, or no text at all.
        OutputError: `out` cannot be written.
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"{out}: vectors go to a file that ends in {' or '.join(SUFFIXES)}")
    with atomic_file(out) as part:
        parts = encoder.encode_stream(texts, **options)
        count, dimension = _parquet(parts, part, places) if out.suffix == ".parquet" else _npy(parts, part)
        if count == 0:
            raise InputError(f"{out}: there is no text to encode")
    return count, dimension


def write_chunks(
    encoder: Encoder,
    texts: Iterable[str],
    out: Path,
    chunks: int | Literal["sentences"],
    options: dict[str, Any],
    places: Places | None = None,
) -> tuple[int, int, int]:
    """Late chunking of `texts` into `out`, which appears whole or not at all.

    Args:
        encoder: the encoder.
        texts: any number of documents, at least one.
        out: .parquet with a row for each chunk: document (its number from 0), start and end (characters), text, vector.
        chunks: "sentences", or tokens of a chunk.
        options: keyword arguments of `Encoder.encode_chunks_stream`.
        places: see `write_vectors`.

    Returns:
        Documents, chunks, D.

    Raises:
        InputError: another suffix, or no text at all.
        OutputError: `out` cannot be written.
    """
    if out.suffix != ".parquet":
        raise InputError(f"{out}: vectors of passages go to a file that ends in .parquet, beside the places they stand for")
    documents = count = 0

    def tables() -> Iterator[tuple[dict[str, list[Any]], np.ndarray]]:
        nonlocal documents, count
        for group, found in encoder.encode_chunks_stream(texts, chunks, **options):
            where = _places(places, len(group))
            rows = [
                (*place, number, start, end, text[start:end])
                for number, (place, text, each) in enumerate(zip(where, group, found), documents)
                for start, end in each.spans
            ]
            documents += len(group)
            count += len(rows)
            if rows:
                named = dict(zip((*_PLACE[: len(where[0])], "document", "start", "end", "text"), map(list, zip(*rows))))
                yield named, np.concatenate([each.vectors for each in found])

    with atomic_file(out) as part:
        dimension = _write_tables(tables(), part)
        if count == 0:
            raise InputError(f"{out}: there is no text to encode")
    return documents, count, dimension


def _npy(parts: Iterator[tuple[list[Any], np.ndarray]], part: Path) -> tuple[int, int]:
    """The header holds the shape, which is known at the end: it is written first with room, and again when all rows are there."""
    count = dimension = size = 0
    with part.open("wb") as file:
        for _, vectors in parts:
            if dimension == 0:
                dimension = vectors.shape[1]
                size = file.write(_header(_MANY, dimension))
            file.write(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
            count += len(vectors)
        file.seek(0)
        file.write(_header(count, dimension, size))
    return count, dimension


def _header(rows: int, dimension: int, size: int = 0) -> bytes:
    """Header of a .npy file (numpy.lib.format, version 1.0), of `size` bytes or the least multiple of 64 that holds it."""
    text = repr({"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)})
    magic = np.lib.format.magic(1, 0)
    need = len(magic) + 2 + len(text) + 1
    size = size or -(-need // 64) * 64
    body = (text + " " * (size - need) + "\n").encode("latin1")
    return magic + len(body).to_bytes(2, "little") + body


def _places(places: Places | None, count: int) -> list[tuple[()] | tuple[str, int]]:
    """File and row of the next so many texts; nothing where nobody keeps them."""
    return [()] * count if places is None else [places.popleft() for _ in range(count)]


def _parquet(parts: Iterator[tuple[list[Any], np.ndarray]], part: Path, places: Places | None) -> tuple[int, int]:
    count = 0

    def tables() -> Iterator[tuple[dict[str, list[Any]], np.ndarray]]:
        nonlocal count
        for texts, vectors in parts:
            count += len(texts)
            where = _places(places, len(texts))
            yield {**dict(zip(_PLACE, map(list, zip(*where)))), "text": texts}, vectors

    dimension = _write_tables(tables(), part)
    return count, dimension


def _write_tables(tables: Iterable[tuple[dict[str, list[Any]], np.ndarray]], part: Path) -> int:
    """Columns by name and a vector (n, D) for each of their n rows, table after table, to parquet; D, or 0 without any table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    dimension = 0
    writer: Any = None
    try:
        for named, vectors in tables:
            dimension = vectors.shape[1]
            flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
            columns = [
                pa.array(values, pa.string() if name in ("text", "file") else pa.int64()) for name, values in named.items()
            ]
            vector = pa.FixedSizeListArray.from_arrays(flat, dimension)
            table = pa.table([*columns, vector], names=[*named, "vector"])
            writer = writer or pq.ParquetWriter(part, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    return dimension
