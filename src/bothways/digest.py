"""SHA-256 of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

_CHUNK = 1 << 20  # bytes read at a time


def file_sha256(file: str | Path) -> str:
    """Compute the SHA-256 of a file's bytes, in 64 hex digits, as `sha256sum` prints it.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
    with Path(file).open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
