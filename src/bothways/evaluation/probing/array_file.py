"""A large array on disk that is computed once, block by block, and survives interruption.

Blocks are appended to NAME.part, and the finished file is renamed to NAME. If a run is killed, the
rows that it has appended are complete except the last ones, so the next run continues from there.
The array is written as an ordinary file and only read through a memory map: to write to a map of a
full disk kills the process, to write to a file raises an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock

from bothways.errors import OutputError
from bothways.moved import old_names

RowBlocks = Callable[[int], Iterator[np.ndarray]]
"""Maps the number of finished rows to an iterator of the others, in order, in blocks (n, width)."""


def array_file(
    path: Path,
    rows: int,
    width: int,
    dtype: type[np.generic],
    blocks: RowBlocks,
    *,
    unit: Callable[[int], int],
) -> np.ndarray:
    """Return the array (rows, width) in file `path`, read-only and memory-mapped.

    If the file does not exist, compute it. Processes that ask for the same file at the same time
    wait for the first one.

    Args:
        path: the file. Its name must identify everything that determines its content.
        rows: number of rows of the finished array, at least 1.
        width: numbers in a row.
        dtype: type of the numbers.
        blocks: computes the missing rows.
        unit: rounds a number of rows down to one from which `blocks` can continue.

    Raises:
        OutputError: if the path cannot be written, or if the disk is full.
    """
    size = rows * width * np.dtype(dtype).itemsize
    if not _is_whole(path, size):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                if not _is_whole(path, size):
                    _write(path, rows, width, dtype, blocks, unit)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            reason = error.strerror or str(error)
            raise OutputError(
                f"{path}: cannot be written ({reason}); free some space there, or keep the states in memory (cache=memory)"
            ) from error
    return np.memmap(path, dtype=dtype, mode="r", shape=(rows, width))


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _write(
    path: Path,
    rows: int,
    width: int,
    dtype: type[np.generic],
    blocks: RowBlocks,
    unit: Callable[[int], int],
) -> None:
    part = path.with_name(f"{path.name}.part")
    stride = width * np.dtype(dtype).itemsize
    done = unit(min(rows, part.stat().st_size // stride)) if part.is_file() else 0
    with part.open("r+b" if part.is_file() else "wb") as stream:
        stream.truncate(done * stride)
        stream.seek(done * stride)
        for block in blocks(done):
            if block.shape[1:] != (width,):
                raise RuntimeError(
                    f"{path}: got a block of shape {block.shape}, but rows have {width} numbers"
                )
            done += len(block)
            stream.write(np.ascontiguousarray(block, dtype=dtype).data)
            stream.flush()
            # The length of a file may reach the disk before its content. The next run needs both.
            os.fsync(stream.fileno())
    if done != rows:
        raise RuntimeError(f"{path}: {done} rows were computed instead of {rows}")
    os.replace(part, path)


__getattr__ = old_names(__name__)
