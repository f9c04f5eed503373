"""One writer per output, and no leftovers of writers that were killed.

A writer holds the operating system's lock on `.NAME.lock` next to the output NAME. The lock ends
with its process, so a killed one does not block anybody. The holder knows that no other writer is
alive, and removes the temporary files and folders of dead ones:

    .NAME.k3x9q2ab.part    an output that was being written (`bothways.atomic`)
    .NAME.k3x9q2ab.old     a folder that was about to be replaced; it is restored if NAME is gone
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from bothways.errors import InputError, OutputBusy, OutputError

#: The middle part has eight characters from `tempfile`.
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{1,8}\.(?P<kind>part|old)", re.DOTALL)
#: File systems allow names of 255 bytes. Ours are longer than the output's by a dot, eight
#: characters and a suffix.
_NAME_BYTES = 200
#: The file system does not support locks, like some network file systems. Outputs are then written
#: without.
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}

_guard = threading.Lock()
#: (process, real place) → thread that holds it
_held: dict[tuple[int, Path], int] = {}


@contextmanager
def held(
    target: str | os.PathLike[str],
    *,
    inner: bool = False,
    busy: str = "another process is writing there; wait for it, or choose another place",
) -> Iterator[Path]:
    """Hold an output for one writer, make its parent folder, and remove killed writers' leftovers.

    The thread that holds an output may hold it again. Devices and pipes are shared by nature and do
    not need a lock.

    Args:
        target: a file or folder, which need not exist. For a link, its target is held.
        inner: if True, skip the lock if this process holds a folder above the output.
        busy: message if another process holds it.

    Yields:
        The real place, with links resolved.

    Raises:
        OutputBusy: if another process or thread holds it.
        OutputError: if nothing can be written there.
    """
    target = Path(target)
    with writing(target):
        place = real_place(target)
    key, me = (os.getpid(), place), threading.get_ident()
    if (
        _held.get(key) == me
        or is_stream(target)
        or (inner and any((key[0], above) in _held for above in place.parents))
    ):
        with writing(target):
            _folder_of(target, place).mkdir(parents=True, exist_ok=True)
        yield place
        return
    with ExitStack() as stack:
        stack.enter_context(_parents(target, place))
        with _guard:
            if key in _held:
                raise OutputBusy(f"{target}: {busy.replace('another process', 'another thread')}")
            _held[key] = me
        stack.callback(_held.pop, key, None)
        if _locked(target, place, busy, stack):
            sweep(place)
        yield place


def real_place(target: Path) -> Path:
    """Return the absolute path of an output with its links resolved.

    Raises:
        OSError: if a name is too long, if links form a circle, or if a folder cannot be entered.
        InputError: if it is the root of the file system.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        os.stat(target)  # unlike realpath, it raises errors with a reason
    place = Path(os.path.realpath(target))
    if not place.name:
        raise InputError(f"{target}: is the root of the file system; name a file or folder in it")
    return place


def is_stream(target: Path) -> bool:
    """Tell if an output is a pipe or a character device (/dev/null, /dev/stdout).

    It is written to and never replaced.
    """
    try:
        mode = target.stat().st_mode
        # /dev/stdout may lead to a file that no longer has a name.
        return (
            stat.S_ISFIFO(mode)
            or stat.S_ISCHR(mode)
            or (stat.S_ISREG(mode) and not os.path.exists(os.path.realpath(target)))
        )
    except OSError:
        return False


def short_name(name: str) -> str:
    """Return an output's name for its temporary files.

    If a file system would refuse it, it is cut and gets a digest.
    """
    raw = os.fsencode(name)
    if len(raw) <= _NAME_BYTES:
        return name
    return f"{os.fsdecode(raw[: _NAME_BYTES - 20])}.{hashlib.sha256(raw).hexdigest()[:16]}"


def is_leftover(name: str) -> bool:
    """Tell if a name is that of a file or folder that a writer, dead or alive, has not finished."""
    return _LEFTOVER.fullmatch(name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove the leftovers of killed writers anywhere below a folder that this process holds.

    Folders that were moved aside are restored. A subfolder that another process holds is skipped.
    """
    for top, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            match = _LEFTOVER.fullmatch(name)
            if match:
                _remove(Path(top) / name, Path(top) / match["name"])
        folders[:] = [
            name for name in folders if not is_leftover(name) and _is_free(Path(top), name, files)
        ]


def sweep(place: Path) -> None:
    """Remove the leftovers of killed writers of one output.

    Only the holder of the output, or of a folder above it, may call it.
    """
    name = short_name(place.name)
    with suppress(OSError):  # the folder may be writable but not readable
        for entry in os.listdir(place.parent):
            match = _LEFTOVER.fullmatch(entry)
            if match and match["name"] == name:
                _remove(place.parent / entry, place)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn any failure inside the block into an error about the output itself."""
    try:
        yield
    except (InputError, OutputError):
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is not None and Path(os.fsdecode(error.filename)).parent != target.parent:
            # The obstacle is not the file itself.
            reason = f"{os.fsdecode(error.filename)}: {reason}"
        raise OutputError(
            f"{target}: cannot be written ({reason}); choose another place"
        ) from error


def _locked(target: Path, place: Path, busy: str, stack: ExitStack) -> bool:
    """Take the lock until the stack ends, or return False if the file system has no locks."""
    file = place.parent / f".{short_name(place.name)}.lock"
    lock = FileLock(file)
    # Before the lock is taken: a signal right after it must not leave the file behind.
    stack.callback(_release, lock, file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputBusy(f"{target}: {busy}") from None
    except NotImplementedError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        with writing(target):
            raise
    return True


def _release(lock: FileLock, file: Path) -> None:
    """Remove the lock's file and end the lock, if this process holds it."""
    if lock.is_locked:
        # Unlink before the release: afterwards the file could be another process's lock.
        file.unlink(missing_ok=True)
        lock.release()


@contextmanager
def _parents(target: Path, place: Path) -> Iterator[None]:
    """Make the folders above an output. At the end, remove those that are still empty."""
    made = [above for above in place.parents if not above.exists()]
    try:
        with writing(target):
            _folder_of(target, place).mkdir(parents=True, exist_ok=True)
        yield
    finally:
        with suppress(OSError):  # it is not empty, or already gone
            for above in made:
                above.rmdir()


def _folder_of(target: Path, place: Path) -> Path:
    """Return the folder to make, as the caller named it, for error messages."""
    return place.parent if target.is_symlink() else target.parent


def _is_free(parent: Path, name: str, files: list[str]) -> bool:
    """Tell if nobody else holds a folder. The lock file of a killed holder is removed."""
    file = f".{short_name(name)}.lock"
    if file not in files or (os.getpid(), parent / name) in _held:
        return True
    lock = FileLock(parent / file)
    try:
        lock.acquire(timeout=0)
    except (Timeout, NotImplementedError, OSError):
        return False
    (parent / file).unlink(missing_ok=True)
    lock.release()
    return True


def _remove(leftover: Path, target: Path) -> None:
    """Remove one leftover. A folder that was moved aside goes back if its place is free."""
    if leftover.suffix == ".old" and not os.path.lexists(target):
        try:
            os.replace(leftover / "old", target)
        except OSError:
            return  # it may be the only copy, so it stays
    if leftover.is_dir() and not leftover.is_symlink():
        shutil.rmtree(leftover, ignore_errors=True)
    else:
        with suppress(OSError):
            leftover.unlink()
