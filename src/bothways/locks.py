"""One writer per output, and nothing left of writers that were killed.

A writer holds the operating system's lock on `.NAME.lock` beside the output NAME. The lock goes with its process, so a killed one
blocks nobody. Whoever holds it knows that no other writer lives, and removes the temporary files and folders of dead ones:

    .NAME.k3x9q2ab.part    an output that was being written (`bothways.atomic`)
    .NAME.k3x9q2ab.old     a folder that was about to be replaced; it comes back if NAME is gone
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

from bothways.errors import InputError, OutputError

#: `tempfile` puts eight characters there.
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{1,8}\.(?P<kind>part|old)", re.DOTALL)
#: File systems hold names of 255 bytes; ours are longer than the output's by a dot, eight characters and a suffix.
_NAME_BYTES = 200
#: The file system knows no locks, as some network file systems: then outputs are written without.
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
    """Hold an output for one writer; make its parent folder, and remove what killed writers left beside it.

    The thread that holds an output may hold it again. Devices and pipes are shared by nature and need no lock.

    Args:
        target: a file or folder, which need not exist; of a link, what it points to.
        inner: skip the lock if this process holds a folder above the output.
        busy: says what to do if another process holds it.

    Yields:
        The real place, links resolved.

    Raises:
        InputError: another process holds it.
        OutputError: nothing can be written there.
    """
    target = Path(target)
    with writing(target):
        place = real_place(target)
    key, me = (os.getpid(), place), threading.get_ident()
    if _held.get(key) == me or is_stream(target) or (inner and any((key[0], above) in _held for above in place.parents)):
        with writing(target):
            _folder_of(target, place).mkdir(parents=True, exist_ok=True)
        yield place
        return
    with ExitStack() as stack:
        stack.enter_context(_parents(target, place))
        with _guard:
            if key in _held:
                raise InputError(f"{target}: {busy.replace('another process', 'another thread')}")
            _held[key] = me
        stack.callback(_held.pop, key, None)
        if _locked(target, place, busy, stack):
            sweep(place)
        yield place


def real_place(target: Path) -> Path:
    """The absolute path of an output with its links resolved.

    Raises:
        OSError: a name that is too long, links in a circle, or a folder that cannot be entered.
        InputError: the root of the file system.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        os.stat(target)  # unlike realpath it says what is wrong
    place = Path(os.path.realpath(target))
    if not place.name:
        raise InputError(f"{target}: is the root of the file system; name a file or folder in it")
    return place


def is_stream(target: Path) -> bool:
    """Whether an output is a pipe or a character device (/dev/null, /dev/stdout), which is written to and never replaced."""
    try:
        mode = target.stat().st_mode
        # /dev/stdout may lead to a file that has no name any more
        return (
            stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or (stat.S_ISREG(mode) and not os.path.exists(os.path.realpath(target)))
        )
    except OSError:
        return False


def short_name(name: str) -> str:
    """The name of an output as its temporary files carry it: cut, with a digest, if a file system would refuse it."""
    raw = os.fsencode(name)
    if len(raw) <= _NAME_BYTES:
        return name
    return f"{os.fsdecode(raw[: _NAME_BYTES - 20])}.{hashlib.sha256(raw).hexdigest()[:16]}"


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is one that a killed writer left, or a living one is still writing."""
    return _LEFTOVER.fullmatch(name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left anywhere below a folder that this process holds; what was moved aside comes back.

    A folder in it that another process holds is passed over.
    """
    for top, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            match = _LEFTOVER.fullmatch(name)
            if match:
                _remove(Path(top) / name, Path(top) / match["name"])
        folders[:] = [name for name in folders if not is_leftover(name) and _is_free(Path(top), name, files)]


def sweep(place: Path) -> None:
    """Remove what killed writers of one output have left; only for whoever holds it, or a folder above it."""
    name = short_name(place.name)
    with suppress(OSError):  # a folder that may be written to and not listed
        for entry in os.listdir(place.parent):
            match = _LEFTOVER.fullmatch(entry)
            if match and match["name"] == name:
                _remove(place.parent / entry, place)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn any failure inside into an error about the output itself."""
    try:
        yield
    except (InputError, OutputError):
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is not None and Path(os.fsdecode(error.filename)).parent != target.parent:
            reason = f"{os.fsdecode(error.filename)}: {reason}"  # what is in the way is not the file itself
        raise OutputError(f"{target}: cannot be written ({reason}); choose another place") from error


def _locked(target: Path, place: Path, busy: str, stack: ExitStack) -> bool:
    """Take the lock until the stack ends; false if the file system has none."""
    file = place.parent / f".{short_name(place.name)}.lock"
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{target}: {busy}") from None
    except NotImplementedError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        with writing(target):
            raise
    stack.callback(lock.release)
    # before the release: a file that is unlinked afterwards could be another's lock
    stack.callback(lambda: file.unlink(missing_ok=True))
    return True


@contextmanager
def _parents(target: Path, place: Path) -> Iterator[None]:
    """Make the folders above an output; those that are empty at the end go again."""
    made = [above for above in place.parents if not above.exists()]
    try:
        with writing(target):
            _folder_of(target, place).mkdir(parents=True, exist_ok=True)
        yield
    finally:
        with suppress(OSError):  # it holds something, or is gone
            for above in made:
                above.rmdir()


def _folder_of(target: Path, place: Path) -> Path:
    """The folder to make, as the caller has named it, which is what an error should say."""
    return place.parent if target.is_symlink() else target.parent


def _is_free(parent: Path, name: str, files: list[str]) -> bool:
    """Whether nobody else holds a folder; the lock file of a killed holder goes."""
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
    """Remove one leftover; a folder that was moved aside goes back if nothing is in its place."""
    if leftover.suffix == ".old" and not os.path.lexists(target):
        try:
            os.replace(leftover / "old", target)
        except OSError:
            return  # for a moment it was all that there is, so it stays
    if leftover.is_dir() and not leftover.is_symlink():
        shutil.rmtree(leftover, ignore_errors=True)
    else:
        with suppress(OSError):
            leftover.unlink()
