"""Outputs appear whole or not at all: written beside their place, synced to the disk, then renamed.

Only regular files and folders are ever replaced. A link stays and its target is written; a pipe or a device such as /dev/null gets
the content written into it; anything else in the way is an error.
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
#: What libraries say of a full disk without its number: numpy (`tofile`), torch (`save`).
_FULL = re.compile(
    r"\d+ requested and \d+ written|inline_container\.cc.*unexpected pos|PytorchStreamWriter failed writing", re.DOTALL
)


@contextmanager
def atomic_file(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it over `target` on success, delete it on any error.

    Raises:
        InputError: another process is writing `target`.
        OutputError: the place cannot be written, something other than a file is there, or there is no room left.
    """
    target = Path(target)
    if is_stream(target):
        with _stream(target) as part:
            yield part
        return
    with held(target, inner=True) as place:
        with writing(target):
            _check_file(target, place)
            handle, name = tempfile.mkstemp(prefix=f".{short_name(place.name)}.", suffix=".part", dir=place.parent)
            os.close(handle)
        part = Path(name)
        try:
            with _room(target):
                yield part
                _sync(part)
            with writing(target):
                # again, because an output may take hours
                before = _check_file(target, place)
                # mkstemp makes files private; the result gets the permissions of the old file, or those of any new one
                part.chmod(0o666 & ~_umask() if before is None else stat.S_IMODE(before.st_mode))
                os.replace(part, place)
                _sync(place.parent)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `target` and rename it to `target` on success, delete it on any error.

    Args:
        target: the folder to appear.
        replace: swap out an existing folder as a whole; without it, an existing one that is not empty is an error.

    Raises:
        InputError: `target` exists and is not an empty folder, and `replace` is false; or another process is writing it.
        OutputError: the place cannot be written, something other than a folder is there, or there is no room left.
    """
    target = Path(target)
    if not replace:
        refuse_existing(target)
    with held(target, inner=True) as place:
        with writing(target):
            _check_folder(target, place)
            part = Path(tempfile.mkdtemp(prefix=f".{short_name(place.name)}.", suffix=".part", dir=place.parent))
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
    """Raise InputError if a folder that is to appear is there already; an empty one may be filled."""
    target = Path(target)
    with writing(target):
        taken = os.path.lexists(target) and target.exists() and (not target.is_dir() or any(target.iterdir()))
    if taken:
        raise InputError(f"{target}: already exists and is not empty; choose another folder or remove it")


def remove_parts(folder: Path) -> None:
    """Remove what killed writers have left below a folder that nobody else is writing to."""
    remove_leftovers(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder of ours so that a kill in between never leaves half of it under its name.

    It goes to a temporary name first, which the next writer sweeps.
    """
    if not folder.exists():
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{short_name(folder.name)}.", suffix=".part", dir=folder.parent))
    try:
        os.replace(folder, aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def move_in(part: Path, folder: Path, last: tuple[str, ...]) -> None:
    """Move the files of `part` into `folder`, which holds other things too; those named in `last` at the end, in that order."""
    names = sorted(os.listdir(part), key=lambda name: (name in last, last.index(name) if name in last else 0, name))
    for name in names:
        target = folder / name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        os.replace(part / name, target)
    part.rmdir()
    _sync(folder)


def _check_file(target: Path, place: Path) -> os.stat_result | None:
    """The regular file that is to be replaced, or None.

    Raises:
        OutputError: something that must not be replaced.
    """
    try:
        found = place.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise OutputError(f"{target}: cannot be written (Is a directory); choose another place")
    if not stat.S_ISREG(found.st_mode):
        raise OutputError(f"{target}: is not a regular file and is left as it is; choose another place")
    if not os.access(place, os.W_OK):
        raise OutputError(f"{target}: cannot be written (it is write-protected); choose another place, or make it writable")
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
    """Rename `part` to a place where nothing or an empty folder is; the system itself refuses anything else."""
    try:
        os.replace(part, place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise InputError(
            f"{target}: something appeared there while this was being written, and is left as it is; choose another folder"
        ) from error


def _swap(part: Path, target: Path) -> None:
    """Put `part` in the place of `target`; what was there comes back if that fails."""
    if not target.exists():
        os.replace(part, target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{short_name(target.name)}.", suffix=".old", dir=target.parent))
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
    """A temporary file whose content goes into a pipe or device once it is whole."""
    with tempfile.TemporaryDirectory(prefix="bothways-") as folder:
        part = Path(folder) / "part"
        with _room(target):
            part.touch()
            yield part
        with writing(target), part.open("rb") as source, os.fdopen(os.open(target, os.O_WRONLY), "wb") as sink:
            shutil.copyfileobj(source, sink)


def _sync(path: Path) -> None:
    """Have the disk hold a file or folder before it is renamed: a power cut would leave the new name with nothing in it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS):  # a file system that cannot
            raise
    finally:
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    for top, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):  # a link of a library's own that leads nowhere
                _sync(Path(top) / name)
        _sync(Path(top))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
        if _FULL.search(reason):
            reason = "No space left"
        raise OutputError(f"{target}: cannot be written ({reason}); make room or choose another place") from error


def _no_room(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _NO_ROOM
    if isinstance(error, (OSError, RuntimeError)) and _FULL.search(str(error)):
        return True
    # libraries written in Rust (safetensors, tokenizers) raise their own classes with the number in the text
    return any(f"os error {number})" in str(error) for number in _NO_ROOM)
