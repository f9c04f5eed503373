"""Outputs appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bothways.errors import BothwaysError, InputError, OutputError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


@contextmanager
def atomic_file(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it over `target` on success, delete it on any error.

    Raises:
        OutputError: the place cannot be written, or there is no room left.
    """
    target = Path(target)
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        os.close(handle)
    part = Path(name)
    try:
        with _room(target):
            yield part
        with _writing(target):
            # mkstemp makes files private; the result gets the permissions any other new file would have
            part.chmod(0o666 & ~_umask())
            os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `target` and rename it to `target` on success, delete it on any error.

    Args:
        target: the folder to appear.
        replace: an existing non-empty `target` is swapped out as a whole; without it, it is an error.

    Raises:
        InputError: `target` exists and is not an empty folder, and `replace` is false.
        OutputError: the place cannot be written, or there is no room left.
    """
    target = Path(target)
    if not replace:
        refuse_existing(target)
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        with _room(target):
            yield part
        with _writing(target):
            part.chmod(0o777 & ~_umask())
            _swap(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def refuse_existing(target: str | os.PathLike[str]) -> None:
    """Raise InputError if a folder that is to appear is there already; an empty one may be filled."""
    target = Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: already exists and is not empty; choose another folder or remove it")


def remove_parts(folder: Path) -> None:
    """Remove what killed writers have left below a folder that nobody else is writing to.

    What was moved aside (.old) stays: for a moment it is all that there is.
    """
    for part in sorted(folder.rglob(".*.part")):  # a folder before what lies in it
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _swap(part: Path, target: Path) -> None:
    """Put `part` in the place of `target`; what stood there comes back if that fails."""
    if not target.exists():
        os.replace(part, target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
    os.replace(target, aside / "old")
    try:
        os.replace(part, target)
    except BaseException:
        os.replace(aside / "old", target)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Any failure inside concerns the place itself."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is not None and Path(os.fsdecode(error.filename)).parent != target.parent:
            reason = f"{os.fsdecode(error.filename)}: {reason}"  # what is in the way is not the file itself
        raise OutputError(f"{target}: cannot be written ({reason}); choose another place") from error


@contextmanager
def _room(target: Path) -> Iterator[None]:
    """Failures inside may come from anywhere; those that say there is no room concern the place."""
    try:
        yield
    except BothwaysError:
        raise
    except Exception as error:
        if not _no_room(error):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise OutputError(f"{target}: cannot be written ({reason}); make room or choose another place") from error


def _no_room(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    # libraries written in Rust (safetensors, tokenizers) raise their own classes with the number in the text
    return any(f"os error {number})" in str(error) for number in _NO_ROOM)
