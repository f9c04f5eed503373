"""Fingerprints of training data, for the provenance that an encoder carries.

A fingerprint answers one question: were these the same texts, in the same order? So each text goes
into the hash with its length before it (["ab", "c"] and ["a", "bc"] differ). Paths, times and file
formats do not.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bothways.data.labeled.beir import is_beir
from bothways.data.text_sources import resolve_texts
from bothways.digest import file_sha256
from bothways.errors import SourceError


def fingerprint_texts(texts: Iterable[str]) -> str:
    """Return the SHA-256 (64 hex digits) of texts in their order.

    Each text is hashed as UTF-8, behind its number of bytes (8 bytes, little-endian).
    """
    digest = hashlib.sha256()
    for text in texts:
        # the caller may not have repaired the text yet, so a lone surrogate must be hashed too
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()


def fingerprint_file(path: str | Path) -> str:
    """Return the SHA-256 (64 hex digits) of a file's bytes on disk, as `sha256sum` prints it.

    Raises:
        SourceError: the file cannot be read.
    """
    try:
        return file_sha256(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from None


def describe_texts(source: str | Path, *, texts: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the facts of a text source as a JSON-ready mapping, for provenance.

    Args:
        source: a source that `iter_texts` takes.
        texts: the texts that were read from it. They add their number and fingerprint.

    Returns:
        `source` and `kind`. For files and folders `files`, the name below the folder -> SHA-256.
        For a hub dataset `config` and `split`. For the embedded text `python`, because it changes
        with the Python version. With `texts`, also `texts` and `sha256`.

    Raises:
        InputError, SourceError: what `iter_texts` raises for the name.
    """
    # the judgments of a BEIR folder say which of its queries belong to a split
    found = resolve_texts(source, splits="all" if is_beir(source) else "training")
    facts: dict[str, Any] = {"source": found.name, "kind": found.kind}
    if found.kind == "file":
        facts["files"] = {path.name: fingerprint_file(path) for path in found.files}
    elif found.kind == "folder":
        facts["files"] = {
            path.relative_to(source).as_posix(): fingerprint_file(path) for path in found.files
        }
    elif found.kind == "hub":
        facts |= {"config": found.config, "split": found.split}
    else:
        facts["python"] = platform.python_version()
    if texts is not None:
        facts |= {"texts": len(texts), "sha256": fingerprint_texts(texts)}
    return facts
