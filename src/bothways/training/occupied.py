"""One run per folder: two processes that train into the same place would overwrite each other's checkpoints.

The lock is the operating system's, on a file beside the folder, so a killed run leaves none behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bothways.errors import InputError


@contextmanager
def occupied(out: Path) -> Iterator[None]:
    """Hold the folder `out` for one run.

    Raises:
        InputError: another process is training there.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    place = out.parent / f".{out.name}.lock"
    lock = FileLock(place)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{out}: another process is training into this folder; wait for it, or choose another folder"
        ) from None
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
        lock.release()
