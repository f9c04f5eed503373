"""Writes vectors of a stream of texts to a file, in memory that does not grow with their number."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bothways.atomic import atomic_file
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError

SUFFIXES = (".npy", ".parquet")
_PLACE = ("file", "row")
Places = deque[tuple[str, int]]
"""File and row of texts that have been read but not yet written."""
Parts = Iterator[tuple[list[Any], np.ndarray]]
"""Texts, and an array with a row for each."""
Table = tuple[dict[str, list[Any]], dict[str, np.ndarray]]
"""Columns by name, and vectors (n, D) by name."""
_GROUP = 1024
"""Vectors of a row group in Parquet. A reader that wants one vector decodes its group."""
_MANY = 10**15  # rows, a number with at least as many digits as any real one has in the header


def write_vectors(
    encoder: Encoder,
    texts: Iterable[str],
    out: Path,
    options: dict[str, Any],
    places: Places | None = None,
    metadata: Mapping[str, str] | None = None,
) -> tuple[int, int]:
    """Encode `texts` into `out`, which appears whole or not at all.

    Args:
        encoder: the encoder.
        texts: any number of texts, at least one.
        out: a .npy file gets the (N, D) float32 array, a .parquet file a table with the columns
            text and vector.
        options: keyword arguments of `Encoder.encode_stream`.
        places: places of the texts, as `readers.iter_texts` fills it. The table then also has the
            columns file and row.
        metadata: facts for the schema of a .parquet file, for example {"model": "my-encoder"}.

    Returns:
        (N, D).

    Raises:
        InputError: the suffix is another one, or there is no text.
        OutputError: `out` cannot be written.
    """
    return _write(
        encoder.encode_stream(texts, **options),
        out,
        places,
        lambda vectors: {"vector": vectors},
        metadata,
    )


def _write(
    parts: Parts,
    out: Path,
    places: Places | None,
    columns: Callable[[np.ndarray], dict[str, np.ndarray]],
    metadata: Mapping[str, str] | None,
) -> tuple[int, int]:
    """Write (texts, vectors) as they come. Returns (N, D).

    `columns` names the vectors (n, D) of a table.
    """
    if out.suffix not in SUFFIXES:
        raise InputError(f"{out}: vectors must go to a file that ends in {' or '.join(SUFFIXES)}")
    with atomic_file(out) as part:
        count, dimension = (
            _parquet(parts, part, places, columns, metadata)
            if out.suffix == ".parquet"
            else _npy(parts, part)
        )
        if count == 0:
            raise InputError(f"{out}: there is no text to encode")
    return count, dimension


def write_both(
    encoder: Encoder,
    texts: Iterable[str],
    out: Path,
    options: dict[str, Any],
    places: Places | None = None,
    metadata: Mapping[str, str] | None = None,
) -> tuple[int, int]:
    """Write both LLaRA vectors of `texts` into `out`, which appears whole or not at all.

    Args:
        encoder: the encoder.
        texts: any number of texts, at least one.
        out: a .npy file gets the (N, 2, D) float32 array, EBAE [:, 0] and EBAR [:, 1]. A .parquet
            file gets a table with the columns text, ebae and ebar.
        options: keyword arguments of `Encoder.encode_both_stream`.
        places: see `write_vectors`.
        metadata: see `write_vectors`.

    Returns:
        (N, D).

    Raises:
        InputError: the suffix is another one, there is no text, or the encoder lacks the two
            questions.
        OutputError: `out` cannot be written.
    """
    stream = encoder.encode_both_stream(texts, **options)
    return _write(stream, out, places, _both_columns, metadata)


def _both_columns(vectors: np.ndarray) -> dict[str, np.ndarray]:
    return {"ebae": vectors[:, 0], "ebar": vectors[:, 1]}


def write_chunks(
    encoder: Encoder,
    texts: Iterable[str],
    out: Path,
    chunks: int | Literal["sentences"],
    options: dict[str, Any],
    places: Places | None = None,
    metadata: Mapping[str, str] | None = None,
    first: int = 0,
) -> tuple[int, int, int]:
    """Write late chunks of `texts` into `out`, which appears whole or not at all.

    Args:
        encoder: the encoder.
        texts: any number of documents, at least one.
        out: a .parquet file with a row for each chunk: document (its number), start and end
            (characters), text, vector.
        chunks: "sentences", or the number of tokens in a chunk.
        options: keyword arguments of `Encoder.encode_chunks_stream`.
        places: see `write_vectors`.
        metadata: see `write_vectors`.
        first: number of the first document.

    Returns:
        Number of documents, number of chunks, D.

    Raises:
        InputError: the suffix is another one, or there is no text.
        OutputError: `out` cannot be written.
    """
    if out.suffix != ".parquet":
        raise InputError(
            f"{out}: vectors of passages must go to a .parquet file, which also holds the places of the passages"
        )
    documents = count = 0

    def tables() -> Iterator[Table]:
        nonlocal documents, count
        for group, found in encoder.encode_chunks_stream(texts, chunks, **options):
            where = _places(places, len(group))
            rows = [
                (*place, number, start, end, text[start:end])
                for number, (place, text, each) in enumerate(
                    zip(where, group, found), first + documents
                )
                for start, end in each.spans
            ]
            documents += len(group)
            count += len(rows)
            if rows:
                named = dict(
                    zip(
                        (*_PLACE[: len(where[0])], "document", "start", "end", "text"),
                        map(list, zip(*rows)),
                    )
                )
                yield named, {"vector": np.concatenate([each.vectors for each in found])}

    with atomic_file(out) as part:
        dimension = _write_tables(tables(), part, metadata)
        if count == 0:
            raise InputError(f"{out}: there is no text to encode")
    return documents, count, dimension


def _npy(parts: Parts, part: Path) -> tuple[int, int]:
    """Write a .npy file.

    Its header holds the shape, which is only known at the end. So the header is written first with
    room to spare, and again after all rows.
    """
    count = size = 0
    between: list[int] = []
    dimension = 0
    with part.open("wb") as file:
        for _, vectors in parts:
            if size == 0:
                *between, dimension = vectors.shape[1:]
                size = file.write(_header(_MANY, dimension, between=between))
            file.write(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
            count += len(vectors)
        file.seek(0)
        file.write(_header(count, dimension, size, between=between))
    return count, dimension


def _header(rows: int, dimension: int, size: int = 0, *, between: Sequence[int] = ()) -> bytes:
    """Build the header of a .npy file (numpy.lib.format, version 1.0).

    It has `size` bytes, or the smallest multiple of 64 that holds it. The array has the shape
    (rows, *between, dimension).
    """
    text = repr({"descr": "<f4", "fortran_order": False, "shape": (rows, *between, dimension)})
    magic = np.lib.format.magic(1, 0)
    need = len(magic) + 2 + len(text) + 1
    size = size or -(-need // 64) * 64
    body = (text + " " * (size - need) + "\n").encode("latin1")
    return magic + len(body).to_bytes(2, "little") + body


def _places(places: Places | None, count: int) -> list[tuple[()] | tuple[str, int]]:
    """Return file and row of the next `count` texts, or empty tuples if places are unknown."""
    return [()] * count if places is None else [places.popleft() for _ in range(count)]


def _parquet(
    parts: Parts,
    part: Path,
    places: Places | None,
    vectors_of: Callable[[np.ndarray], dict[str, np.ndarray]],
    metadata: Mapping[str, str] | None,
) -> tuple[int, int]:
    count = 0

    def tables() -> Iterator[Table]:
        nonlocal count
        for texts, vectors in parts:
            count += len(texts)
            where = _places(places, len(texts))
            yield {**dict(zip(_PLACE, map(list, zip(*where)))), "text": texts}, vectors_of(vectors)

    dimension = _write_tables(tables(), part, metadata)
    return count, dimension


def _write_tables(
    tables: Iterable[Table], part: Path, metadata: Mapping[str, str] | None = None
) -> int:
    """Write tables of columns by name and vectors (n, D) by name to parquet, one after the other.

    Returns D, or 0 if there is no table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    dimension = 0
    writer: Any = None
    try:
        for named, vectors in tables:
            columns = [
                pa.array(values, pa.string() if name in ("text", "file") else pa.int64())
                for name, values in named.items()
            ]
            for each in vectors.values():
                dimension = each.shape[1]
                columns.append(
                    pa.FixedSizeListArray.from_arrays(
                        pa.array(np.ascontiguousarray(each).reshape(-1)), dimension
                    )
                )
            table = pa.table(columns, names=[*named, *vectors], metadata=metadata)
            writer = writer or pq.ParquetWriter(part, table.schema, write_page_checksum=True)
            writer.write_table(table, row_group_size=_GROUP)
    finally:
        if writer is not None:
            writer.close()
    return dimension
