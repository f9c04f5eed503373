"""One run per folder: two processes that train into the same place would overwrite each other's checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bothways.locks import held


@contextmanager
def occupied(out: Path) -> Iterator[None]:
    """Hold the folder `out` for one run; see `bothways.locks`.

    Raises:
        InputError: another process is training there.
        OutputError: nothing can be written there.
    """
    with held(out, busy="another process is training into this folder; wait for it, or choose another folder"):
        yield
