"""Writes outputs whole or not at all: next to their place, synced to the disk, then renamed.

Only regular files and folders are ever replaced. A link stays, and its target is written. A pipe or
a device such as /dev/null gets the content written into it. Anything else at the place is an error.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bothways.errors import BothwaysError, InputError, OutputError
from bothways.locks import held, is_stream, remove_leftovers, short_name, writing

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
#: Messages of libraries about a full disk without the error number: numpy (`tofile`), torch
#: (`save`).
_FULL = re.compile(
    r"\d+ requested and \d+ written|inline_container\.cc.*unexpected pos|PytorchStreamWriter failed writing",
    re.DOTALL,
)


@contextmanager
def atomic_file(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path next to `target`, renamed on success and deleted on error.

    Raises:
        InputError: if another process is writing `target`.
        OutputError: if the place cannot be written, if something other than a file is there, or if
            the disk is full.
    """
    target = Path(target)
    if is_stream(target):
        with _stream(target) as part:
            yield part
        return
    with held(target, inner=True) as place:
        with writing(target):
            _check_file(target, place)
            handle, name = tempfile.mkstemp(
                prefix=f".{short_name(place.name)}.", suffix=".part", dir=place.parent
            )
            os.close(handle)
        part = Path(name)
        try:
            with _room(target):
                yield part
                _sync(part)
            with writing(target):
                # Check again, because an output may take hours.
                before = _check_file(target, place)
                # mkstemp makes files private. The result gets the permissions of the old file, or
                # those of any new one.
                part.chmod(0o666 & ~_umask() if before is None else stat.S_IMODE(before.st_mode))
                os.replace(part, place)
                _sync(place.parent)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder next to `target`, renamed on success and deleted on error.

    Args:
        target: the folder to write.
        replace: if True, replace an existing folder as a whole. If False, an existing folder that
            is not empty is an error.

    Raises:
        InputError: if `target` exists, is not an empty folder and `replace` is False, or if another
            process is writing it.
        OutputError: if the place cannot be written, if something other than a folder is there, or
            if the disk is full.
    """
    target = Path(target)
    if not replace:
        refuse_existing(target)
    with held(target, inner=True) as place:
        with writing(target):
            _check_folder(target, place)
            part = Path(
                tempfile.mkdtemp(
                    prefix=f".{short_name(place.name)}.", suffix=".part", dir=place.parent
                )
            )
        try:
            with _room(target):
                yield part
                _sync_tree(part)
            with writing(target):
                before = _check_folder(target, place)
                part.chmod(0o777 & ~_umask() if before is None else stat.S_IMODE(before.st_mode))
                if replace:
                    _swap(part, place)
                else:
                    _appear(part, place, target)
                _sync(place.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def refuse_existing(target: str | os.PathLike[str]) -> None:
    """Raise InputError if a folder to write already exists and is not empty."""
    target = Path(target)
    with writing(target):
        taken = (
            os.path.lexists(target)
            and target.exists()
            and (not target.is_dir() or any(target.iterdir()))
        )
    if taken:
        raise InputError(
            f"{target}: already exists and is not empty; choose another folder or remove it"
        )


def remove_parts(folder: Path) -> None:
    """Remove the leftovers of killed writers below a folder that nobody else is writing to."""
    remove_leftovers(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder of this library, so that a kill never leaves a half of it under its name.

    It first gets a temporary name, which the next writer removes.
    """
    if not folder.exists():
        return
    aside = Path(
        tempfile.mkdtemp(prefix=f".{short_name(folder.name)}.", suffix=".part", dir=folder.parent)
    )
    try:
        os.replace(folder, aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def move_in(part: Path, folder: Path, last: tuple[str, ...]) -> None:
    """Move the files of `part` into `folder`, which holds other things too.

    The files named in `last` are moved at the end, in that order.
    """
    names = sorted(
        os.listdir(part),
        key=lambda name: (name in last, last.index(name) if name in last else 0, name),
    )
    for name in names:
        target = folder / name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        os.replace(part / name, target)
    part.rmdir()
    _sync(folder)


def _check_file(target: Path, place: Path) -> os.stat_result | None:
    """Return the status of the regular file to replace, or None if it does not exist.

    Raises:
        OutputError: if something is there that must not be replaced.
    """
    try:
        found = place.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise OutputError(f"{target}: cannot be written (Is a directory); choose another place")
    if not stat.S_ISREG(found.st_mode):
        raise OutputError(
            f"{target}: is not a regular file and is left as it is; choose another place"
        )
    if not os.access(place, os.W_OK):
        raise OutputError(
            f"{target}: cannot be written (it is write-protected); choose another place, or make it writable"
        )
    return found


def _check_folder(target: Path, place: Path) -> os.stat_result | None:
    try:
        found = place.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(found.st_mode):
        raise OutputError(f"{target}: is not a folder and is left as it is; choose another place")
    return found


def _appear(part: Path, place: Path, target: Path) -> None:
    """Rename `part` to a place that is free or an empty folder. The system refuses all others."""
    try:
        os.replace(part, place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise InputError(
            f"{target}: something else appeared there during writing and is left as it is; choose another folder"
        ) from error


def _swap(part: Path, target: Path) -> None:
    """Put `part` in the place of `target`. If that fails, restore the old content."""
    if not target.exists():
        os.replace(part, target)
        return
    aside = Path(
        tempfile.mkdtemp(prefix=f".{short_name(target.name)}.", suffix=".old", dir=target.parent)
    )
    try:
        os.replace(target, aside / "old")
        try:
            os.replace(part, target)
        except BaseException:
            os.replace(aside / "old", target)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _stream(target: Path) -> Iterator[Path]:
    """Yield a temporary file, and copy it into a pipe or device once it is complete."""
    with tempfile.TemporaryDirectory(prefix="bothways-") as folder:
        part = Path(folder) / "part"
        with _room(target):
            part.touch()
            yield part
        with (
            writing(target),
            part.open("rb") as source,
            os.fdopen(os.open(target, os.O_WRONLY), "wb") as sink,
        ):
            shutil.copyfileobj(source, sink)


def _sync(path: Path) -> None:
    """Write a file or folder to the disk before it is renamed.

    Otherwise a power cut could leave the new name without content.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # These mean that the file system does not support fsync.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS):
            raise
    finally:
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    for top, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):  # a broken link of a library
                _sync(Path(top) / name)
        _sync(Path(top))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _room(target: Path) -> Iterator[None]:
    """Turn errors about a full disk, from any library, into an OutputError about the place."""
    try:
        yield
    except BothwaysError:
        raise
    except Exception as error:
        if not _no_room(error):
            raise
        reason = (
            error.strerror
            if isinstance(error, OSError) and error.strerror
            else " ".join(str(error).split())
        )
        if _FULL.search(reason):
            reason = "No space left"
        raise OutputError(
            f"{target}: cannot be written ({reason}); make room or choose another place"
        ) from error


def _no_room(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _NO_ROOM
    if isinstance(error, (OSError, RuntimeError)) and _FULL.search(str(error)):
        return True
    # Libraries written in Rust (safetensors, tokenizers) raise their own classes, with the number
    # in the text.
    return any(f"os error {number})" in str(error) for number in _NO_ROOM)
