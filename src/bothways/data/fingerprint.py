"""Fingerprints of training data, for the provenance an encoder carries.

A fingerprint answers one question: were these the same texts, in the same order? Therefore each text goes into the hash with
its length before it (["ab", "c"] and ["a", "bc"] differ), and nothing else does: no path, no time, no file format.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bothways.data.labeled.beir import is_beir
from bothways.data.sources import resolve_texts
from bothways.digest import file_sha256
from bothways.errors import SourceError


def fingerprint_texts(texts: Iterable[str]) -> str:
    """SHA-256 (64 hex digits) over the UTF-8 texts, each behind its byte length as 8 bytes, little-endian; order matters."""
    digest = hashlib.sha256()
    for text in texts:
        raw = text.encode(
            "utf-8", "surrogatepass"
        )  # a lone surrogate must be hashable too: the caller may not have cleaned yet
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()


def fingerprint_file(path: str | Path) -> str:
    """SHA-256 (64 hex digits) of a file's bytes as they lie on disk, compressed or not; the same as `sha256sum`.

    Raises:
        SourceError: the file cannot be read.
    """
    try:
        return file_sha256(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from None


def describe(source: str | Path, *, texts: Sequence[str] | None = None) -> dict[str, Any]:
    """What is known of a text source, as a JSON-ready mapping for provenance.

    Args:
        source: any source that `iter_texts` takes.
        texts: the texts that were in fact read from it (after column choice and limit); adds their number and fingerprint.

    Returns:
        `source` and `kind`; `files` (name below the folder -> sha256) for files and folders; `config` and `split` for a hub
        dataset; `python` for the embedded text, which changes with the Python version; `texts` and `sha256` where texts are
        given.

    Raises:
        InputError, SourceError: as `iter_texts` does for the name.
    """
    # a BEIR folder is read by its judgements, which hold the other splits apart
    found = resolve_texts(source, splits="all" if is_beir(source) else "training")
    facts: dict[str, Any] = {"source": found.name, "kind": found.kind}
    if found.kind == "file":
        facts["files"] = {path.name: fingerprint_file(path) for path in found.files}
    elif found.kind == "folder":
        facts["files"] = {path.relative_to(source).as_posix(): fingerprint_file(path) for path in found.files}
    elif found.kind == "hub":
        facts |= {"config": found.config, "split": found.split}
    else:
        facts["python"] = platform.python_version()
    if texts is not None:
        facts |= {"texts": len(texts), "sha256": fingerprint_texts(texts)}
    return facts
