"""Allows one run per folder. Two processes would overwrite each other's checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bothways.locks import held


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the folder `out` for one run; see `bothways.locks`.

    Raises:
        InputError: if another process is training there.
        OutputError: if nothing can be written there.
    """
    with held(
        out,
        busy="another process is training into this folder; wait for it, or choose another folder",
    ):
        yield
