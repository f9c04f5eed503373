"""Files as bytes and lines: compression by suffix, UTF-8, and errors for files of another kind.

Only a line feed ends a line. `str.splitlines` would also split at U+2028, U+0085 and form feeds,
which occur inside real texts.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from bothways.errors import InputError, SourceError

_LFS = b"version https://git-lfs.github.com/spec/"


def _zstandard(path: Path) -> BinaryIO:
    import pyarrow as pa

    # pyarrow is installed anyway and reads Zstandard; the standard library does from Python 3.14 on
    return cast(
        BinaryIO,
        io.BufferedReader(cast(io.RawIOBase, pa.input_stream(str(path), compression="zstd"))),
    )


def _gzip(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb"))


def _bzip2(path: Path) -> BinaryIO:
    return cast(BinaryIO, bz2.open(path, "rb"))


def _xz(path: Path) -> BinaryIO:
    return cast(BinaryIO, lzma.open(path, "rb"))


_OPENERS: dict[str, tuple[str, Callable[[Path], BinaryIO]]] = {
    ".gz": ("gzip", _gzip),
    ".bz2": ("bzip2", _bzip2),
    ".xz": ("xz", _xz),
    ".zst": ("zstd", _zstandard),
}
COMPRESSIONS = tuple(_OPENERS)


def plain_name(name: str) -> str:
    """Return a file's name in lower case without the suffix of its compression.

    For example, plain_name("A.jsonl.gz") is "a.jsonl".
    """
    name = name.lower()
    return next(
        (name.removesuffix(suffix) for suffix in COMPRESSIONS if name.endswith(suffix)), name
    )


def compression_of(path: Path) -> str | None:
    """Return the suffix of a file's compression, or None."""
    return next((suffix for suffix in COMPRESSIONS if path.name.lower().endswith(suffix)), None)


def open_bytes(path: Path) -> BinaryIO:
    """Open a file, and decompress it if its suffix says so.

    Raises:
        SourceError: the file cannot be opened.
    """
    suffix = compression_of(path)
    try:
        return path.open("rb") if suffix is None else _OPENERS[suffix][1](path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be opened: {error.strerror or error}") from None


def iter_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line with its line end) of a UTF-8 file, without its byte order mark.

    The file may be compressed.

    Raises:
        InputError: UTF-16 or invalid UTF-8, a broken archive, or a pointer of Git LFS. Names the
            row.
        SourceError: the file cannot be opened or read.
    """
    number = 0
    with open_bytes(path) as stream:
        try:
            for number, raw in enumerate(stream, start=1):
                if number == 1:
                    raw = _checked_start(path, raw)
                yield number, raw.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise InputError(
                f"{path}, row {number}: byte 0x{byte:02x} at position {error.start + 1} is not UTF-8; save the file as UTF-8"
            ) from None
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise _broken(path, number, error) from None
        except OSError as error:
            if error.errno is None and compression_of(path) is not None:
                raise _broken(path, number, error) from None
            raise SourceError(
                f"{path}: reading failed after row {number}: {error.strerror or error}"
            ) from None


def _broken(path: Path, row: int, error: Exception) -> InputError:
    suffix = compression_of(path)
    kind = "archive" if suffix is None else _OPENERS[suffix][0]
    return InputError(
        f"{path}: broken {kind} after row {row} ({error}); fetch or compress the file again"
    )


def _checked_start(path: Path, line: bytes) -> bytes:
    """Return the first line without its byte order mark."""
    if line.startswith(_LFS):
        raise InputError(
            f"{path}: is a pointer of Git LFS, not the data; fetch the file with `git lfs pull`"
        )
    line = line.removeprefix(b"\xef\xbb\xbf")
    marked = line.startswith((b"\xff\xfe", b"\xfe\xff"))
    # without a mark, every second byte of English text in UTF-16 is zero
    unmarked = len(line) >= 8 and (not any(line[0:-1:2]) or not any(line[1:-1:2]))
    if marked or unmarked:
        raise InputError(f"{path}, row 1: this is UTF-16; save the file as UTF-8")
    return line
