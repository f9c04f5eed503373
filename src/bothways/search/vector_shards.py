"""Vectors of many texts on disk: encoded chunk by chunk and read through memory maps.

Each chunk is a file of its own that is written as a whole or not at all. So nothing needs repair
after a run was killed: the next run encodes the missing chunks. The name of the folder must
identify everything that determines its content (model, prompt, texts).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

from bothways.atomic import atomic_file
from bothways.errors import InputError

Store = Literal["float32", "float16"]
Result = TypeVar("Result")

log = logging.getLogger("bothways")

# Texts of one file, and the most that a killed run can lose. 4,096 vectors of 4,096 numbers in
# float32 are 64 MB.
CHUNK = 4096


class Shards:
    """N vectors in files of `chunk` each."""

    def __init__(self, arrays: Sequence[np.ndarray], chunk: int) -> None:
        """Keep the files.

        Args:
            arrays: memory maps (n, D). All but the last have `chunk` rows.
            chunk: vectors of a file.
        """
        self.arrays, self.chunk = list(arrays), chunk
        self.count = sum(len(array) for array in arrays)
        self.width = arrays[0].shape[1]

    def blocks(self, size: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first `stop` vectors in order, in blocks of at most `size`.

        A block is (number of its first vector, vectors (n, D) float32).
        """
        for number, array in enumerate(self.arrays):
            start = number * self.chunk
            for first in range(start, min(start + len(array), stop), size):
                end = min(first + size, start + len(array), stop)
                yield first, self._floats(array[first - start : end - start])

    def rows(self, places: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the vectors (n, D) float32 at these places, in this order."""
        wanted = np.asarray(places, dtype=np.int64)
        found = np.empty((len(wanted), self.width), dtype=np.float32)
        files = wanted // self.chunk
        for number in np.unique(files):
            here = files == number
            found[here] = self._floats(self.arrays[number][wanted[here] - number * self.chunk])
        return found

    def _floats(self, stored: np.ndarray) -> np.ndarray:
        """Return stored rows as float32, in new memory."""
        return np.array(stored, dtype=np.float32)


def encode_shards(
    folder: Path,
    count: int,
    encode: Callable[[int, int], np.ndarray],
    *,
    store: Store = "float32",
    chunk: int | None = None,
    advance: Callable[[int], None] = lambda count: None,
    at_once: int = 1,
) -> Shards:
    """Open the vectors in `folder`, and compute the missing ones.

    Args:
        folder: folder of the files. It is created if it does not exist.
        count: N ≥ 1.
        encode: returns vectors (end - first, D) of the items [first, end).
        store: type of the numbers on disk. float16 halves the files and rounds cosines to about
            0.0005.
        chunk: items of a file. If None, CHUNK.
        advance: called with the number of items after each file, in their order.
        at_once: number of files that are computed at the same time, each by a thread that calls
            `encode`.

    Raises:
        InputError: if two chunks have vectors of different widths, or if a number is too large for
            float16.
        OutputError: if the folder cannot be written, or if the disk is full.
    """
    chunk = CHUNK if chunk is None else chunk
    arrays: list[np.ndarray] = []

    def file(number: int) -> tuple[Path, np.ndarray]:
        first = number * chunk
        path, end = folder / f"{number:06d}.npy", min(first + chunk, count)
        array = _read(path, end - first, store)
        if array is None:
            vectors = encode(first, end)
            with np.errstate(over="ignore"):  # told below, with a remedy
                kept = vectors.astype(store)
            if not np.isfinite(kept).all():
                raise InputError(
                    f"store: {store} has no numbers above {np.finfo(store).max:g}, and vectors of this encoder do; use store float32"
                )
            with atomic_file(path) as part, part.open("wb") as stream:
                np.save(stream, kept)
            array = np.load(path, mmap_mode="r")
        return path, array

    for path, array in _in_order(file, -(-count // chunk), at_once):
        if arrays and array.shape[1] != arrays[0].shape[1]:
            raise InputError(
                f"{path}: its vectors have {array.shape[1]} numbers and the earlier ones {arrays[0].shape[1]}; "
                "an encoder must return vectors of one width"
            )
        arrays.append(array)
        advance(len(array))
    return Shards(arrays, chunk)


def _in_order(call: Callable[[int], Result], count: int, at_once: int) -> Iterator[Result]:
    """Yield call(0), call(1), …, of which up to `at_once` run at the same time."""
    if at_once == 1:
        yield from map(call, range(count))
        return
    threads = ThreadPoolExecutor(at_once)
    waiting: deque[Future[Result]] = deque()
    try:
        for number in range(count):
            waiting.append(threads.submit(call, number))
            if len(waiting) == 2 * at_once:  # no thread waits for the oldest one
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


def _read(path: Path, rows: int, store: Store) -> np.ndarray | None:
    if not path.is_file():
        return None
    try:
        array = np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        log.warning("%s: cannot be read (%s), so its texts are encoded again", path, error)
        return None
    return (
        array if array.ndim == 2 and len(array) == rows and array.dtype == np.dtype(store) else None
    )
