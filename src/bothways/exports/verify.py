"""Runs an export in the loaders that are installed, and compares its vectors with bothways' own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bothways.errors import BothwaysError, InputError
from bothways.exports.folders.folder_verify import verify_folder
from bothways.exports.gguf import llama_cpp
from bothways.exports.graphs.exported import TITLES, verify_rows
from bothways.exports.manifest import read_manifest
from bothways.exports.reference import cosine
from bothways.exports.result import Result
from bothways.exports.servers.server_check import ServerRule, check_rules
from bothways.exports.servers.server_rules import SERVERS
from bothways.progress import Progress


def verify_export(folder: str | os.PathLike[str], *, pythons: Sequence[str] = ()) -> list[Result]:
    """Compare an export with the vectors that were stored when it was written.

    Args:
        folder: an export.
        pythons: Python interpreters of other environments, to check with their loaders too. Only
            for targets that are read by sentence-transformers, transformers or llm2vec.

    Returns:
        Two results for each text: encoded alone and in one batch with the others.

    Raises:
        InputError: if the folder is not an export, or is damaged.
        LoaderError: if a loader cannot run it.
        MissingExtra: if no loader for it is installed.
    """
    manifest = read_manifest(Path(folder))
    with Progress("verify-export", None, ""):
        return _verify(folder, manifest, pythons)


def _verify(
    folder: str | os.PathLike[str], manifest: dict[str, Any], pythons: Sequence[str]
) -> list[Result]:
    if "loaders" in manifest:
        return verify_folder(Path(folder), manifest, pythons)
    if pythons:
        raise InputError(
            f"with: an export to {manifest.get('target')} runs only in this Python; leave --with out"
        )
    if manifest.get("target") in TITLES:
        return _graph(Path(folder))
    try:
        file, bar, tokens = (
            Path(folder) / manifest["file"],
            float(manifest["bar"]),
            int(manifest["tokens"]),
        )
        rows = [
            (str(row["case"]), str(row["text"]), row["vector"], float(row["cost"]))
            for row in manifest["reference"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: damaged ({type(error).__name__}); export the model again"
        ) from None
    texts = [row[1] for row in rows]
    results = []
    for way in ("single", "batch"):
        vectors = llama_cpp.encode(file, texts, tokens=tokens, batch=way == "batch")
        results += [
            Result("llama.cpp", f"{case}, {way}", cosine(vector, own), bar, cost)
            for (case, _, own, cost), vector in zip(rows, vectors, strict=True)
        ]
    return results


def verify_rules(folder: str | os.PathLike[str]) -> list[ServerRule]:
    """Check an export against the rules of a server that does not run here.

    Other targets do not have rules.

    Args:
        folder: an export.

    Raises:
        InputError: if the folder is not an export, or is damaged.
    """
    manifest = read_manifest(Path(folder))
    if manifest.get("target") not in SERVERS:
        return []
    return check_rules(Path(folder), str(manifest["target"]), str(manifest.get("family")))


def _graph(folder: Path) -> list[Result]:
    try:
        return verify_rows(folder)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, BothwaysError):
            raise
        raise InputError(
            f"{folder}: damaged ({type(error).__name__}); export the model again"
        ) from None
