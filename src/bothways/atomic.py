"""Outputs appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bothways.errors import InputError


@contextmanager
def atomic_file(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it over `target` on success, delete it on any error."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        # mkstemp makes files private; the result gets the permissions any other new file would have
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o666 & ~mask)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `target` and rename it to `target` on success.

    Args:
        target: the folder to appear.
        replace: an existing non-empty `target` is swapped out as a whole; without it, it is an error.

    Raises:
        InputError: `target` exists and is not empty, and `replace` is false.
    """
    target = Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())) and not replace:
        raise InputError(f"{target}: already exists and is not empty; choose another folder or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        yield part
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o777 & ~mask)
        old = None
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent)) / "old"
            os.replace(target, old)
        os.replace(part, target)
        if old is not None:
            shutil.rmtree(old.parent, ignore_errors=True)
    finally:
        if part.exists():
            shutil.rmtree(part, ignore_errors=True)
