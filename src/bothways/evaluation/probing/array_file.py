"""A large array on disk that is computed once, block by block, and survives being killed.

Blocks are appended to NAME.part; the finished file is renamed to NAME. What a killed run has appended is whole up to its last rows,
so the next run goes on from there. It is written as an ordinary file and only read through a memory map: writing to a map of a full
disk kills the process, writing to a file raises.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock

from bothways.errors import OutputError

Blocks = Callable[[int], Iterator[np.ndarray]]
"""Given how many rows there are already, yields the others in order, in blocks (n, width)."""


def array_file(
    path: Path, rows: int, width: int, dtype: type[np.generic], blocks: Blocks, *, unit: Callable[[int], int]
) -> np.ndarray:
    """The array (rows, width) in file `path`, read-only and memory-mapped; computed where it is not there.

    Processes that ask for one file at the same time wait for the first.

    Args:
        path: the file; its name must say everything that decides its content.
        rows: of the finished array, at least 1.
        width: numbers in a row.
        dtype: of the numbers.
        blocks: computes the rows that are missing.
        unit: rounds a number of rows down to where `blocks` can go on.

    Raises:
        OutputError: the place cannot be written, or there is no room.
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
            raise OutputError(f"{path}: cannot be written ({reason}); make room there, or keep the states in memory") from error
    return np.memmap(path, dtype=dtype, mode="r", shape=(rows, width))


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _write(path: Path, rows: int, width: int, dtype: type[np.generic], blocks: Blocks, unit: Callable[[int], int]) -> None:
    part = path.with_name(f"{path.name}.part")
    stride = width * np.dtype(dtype).itemsize
    done = unit(min(rows, part.stat().st_size // stride)) if part.is_file() else 0
    with part.open("r+b" if part.is_file() else "wb") as stream:
        stream.truncate(done * stride)
        stream.seek(done * stride)
        for block in blocks(done):
            if block.shape[1:] != (width,):
                raise RuntimeError(f"{path}: a block of shape {block.shape} where rows of {width} numbers were announced")
            done += len(block)
            stream.write(np.ascontiguousarray(block, dtype=dtype).data)
            stream.flush()
            # the length of a file may reach the disk before its content; only what is there may be built on
            os.fsync(stream.fileno())
    if done != rows:
        raise RuntimeError(f"{path}: {done} rows were computed where {rows} were announced")
    os.replace(part, path)
