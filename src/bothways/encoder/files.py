"""Vectors of a stream of texts to a file, window by window: memory does not grow with the number of texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bothways.atomic import atomic_file
from bothways.encoder.inference import WINDOW, windows

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder


def write_vectors(encoder: Encoder, texts: Iterable[str], out: Path, options: dict[str, Any]) -> tuple[int, int]:
    """Encode `texts` into `out`, which appears whole or not at all.

    Args:
        encoder: the encoder.
        texts: any number of texts.
        out: .npy gets the (N, D) float32 array; .parquet a table with the columns text and vector.
        options: keyword arguments of `Encoder.encode`.

    Returns:
        (N, D).
    """
    with atomic_file(out) as part:
        parts = _encoded(encoder, texts, options)
        return _parquet(parts, part) if out.suffix == ".parquet" else _npy(parts, part)


def _encoded(encoder: Encoder, texts: Iterable[str], options: dict[str, Any]) -> Iterator[tuple[list[Any], np.ndarray]]:
    for _, window in windows(texts, WINDOW):
        yield window, encoder.encode(window, **options)


def _npy(parts: Iterator[tuple[list[Any], np.ndarray]], part: Path) -> tuple[int, int]:
    """The header holds the shape, which is known at the end: it is written first with room, and again when all rows are there."""
    count, dimension = 0, 0
    with part.open("wb") as file:
        for _, vectors in parts:
            if dimension == 0:
                dimension = vectors.shape[1]
                _header(file, 10**15, dimension)
                size = file.tell()
            file.write(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
            count += len(vectors)
        file.seek(0)
        _header(file, count, dimension, size if dimension else None)
    return count, dimension


def _header(file: Any, rows: int, dimension: int, size: int | None = None) -> None:
    text = repr({"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)})
    magic = np.lib.format.magic(1, 0)
    need = len(magic) + 2 + len(text) + 1
    size = size or -(-need // 64) * 64
    body = (text + " " * (size - need) + "\n").encode("latin1")
    file.write(magic + len(body).to_bytes(2, "little") + body)


def _parquet(parts: Iterator[tuple[list[Any], np.ndarray]], part: Path) -> tuple[int, int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count, dimension = 0, 0
    writer: Any = None
    try:
        for texts, vectors in parts:
            dimension = vectors.shape[1]
            flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
            columns = [pa.array(texts, pa.string()), pa.FixedSizeListArray.from_arrays(flat, dimension)]
            table = pa.table(columns, names=["text", "vector"])
            writer = writer or pq.ParquetWriter(part, table.schema)
            writer.write_table(table)
            count += len(texts)
    finally:
        if writer is not None:
            writer.close()
    return count, dimension
