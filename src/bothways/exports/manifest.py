"""Writes and reads the manifest of an export: its type and settings, and texts with their vectors.

Every target writes one, and `verify_export` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bothways.errors import InputError
from bothways.exports.reference import ReferenceRow
from bothways.folder_files import EXPORT
from bothways.provenance import versions

MANIFEST = EXPORT
BARS = {"f32": 0.9999, "f16": 0.999, "q8_0": 0.99, "int8": 0.99}
"""Lowest cosine to bothways' vectors that counts as right, by type."""
FORMAT = 1


def write_manifest(
    folder: Path, target: str, dtype: str, reference: Sequence[ReferenceRow], **fields: object
) -> None:
    """Write the manifest into an export's folder.

    Args:
        folder: the export.
        target: for example "gguf".
        dtype: a key of `BARS`, which has the lowest cosine that counts as right.
        reference: texts with their vectors, from `reference.rows`.
        **fields: settings for the target's loader, as JSON values.
    """
    manifest = {
        "format": FORMAT,
        "target": target,
        "dtype": dtype,
        "bar": BARS[dtype],
        **fields,
        "versions": versions(),
        "reference": [asdict(row) for row in reference],
    }
    (folder / MANIFEST).write_text(
        json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def add_to_manifest(folder: Path, **fields: object) -> None:
    """Add settings to the manifest in an export's folder, as JSON values."""
    place = folder / MANIFEST
    manifest = {**json.loads(place.read_text(encoding="utf-8")), **fields}
    place.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def files(folder: Path) -> list[str]:
    """Return the names of all files below a folder, with forward slashes, in order."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of an export.

    Raises:
        InputError: if the folder is not an export, or is damaged.
    """
    place = folder / MANIFEST
    try:
        manifest = json.loads(place.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        reason = f"{MANIFEST} is missing" if folder.is_dir() else "there is no such folder"
        raise InputError(
            f"{folder}: is not an export ({reason}); write one with: bothways export MODEL --to gguf --out DIR"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{place}: damaged ({type(error).__name__}); export the model again"
        ) from None
    if not isinstance(manifest, dict):
        raise InputError(f"{place}: damaged (not an object); export the model again")
    return manifest
