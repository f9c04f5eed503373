"""`verify_export`: run an export in the loaders that are installed and compare its vectors with bothways' own."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bothways.errors import InputError
from bothways.exports import llama_cpp
from bothways.exports.gguf_folder import MANIFEST
from bothways.exports.reference import cosine


@dataclass(frozen=True)
class Result:
    """One text in one loader.

    Attributes:
        loader: for example "llama.cpp".
        case: for example "korean, batch".
        cosine: to the vector of bothways.
        bar: the least cosine that counts as right.
        cost: cosine between the vector with the prompt pooled, which the loader is compared with, and
            the encoder's own; 1.0 if they are the same.
    """

    loader: str
    case: str
    cosine: float
    bar: float
    cost: float = 1.0

    @property
    def ok(self) -> bool:
        """Tell whether the loader gives bothways' vector."""
        return self.cosine >= self.bar


def verify_export(folder: str | os.PathLike[str]) -> list[Result]:
    """Compare an export with the vectors that were stored when it was written.

    Args:
        folder: what `export` wrote.

    Returns:
        One result for each text, in one batch and one by one.

    Raises:
        InputError: the folder is not an export, or is damaged.
        LoaderError: a loader cannot run it.
        MissingExtra: no loader for it is installed.
    """
    place = Path(folder) / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        file, bar, tokens = Path(folder) / manifest["file"], float(manifest["bar"]), int(manifest["tokens"])
        rows = [(str(row["case"]), str(row["text"]), row["vector"], float(row["cost"])) for row in manifest["reference"]]
    except FileNotFoundError:
        raise InputError(
            f"{folder}: is not an export ({MANIFEST} is missing); write one with: bothways export MODEL --to gguf"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{place}: damaged ({type(error).__name__}); export the model again") from None
    results = []
    for way in ("single", "batch"):
        vectors = llama_cpp.encode(file, [row[1] for row in rows], tokens=tokens, batch=way == "batch")
        results += [
            Result("llama.cpp", f"{case}, {way}", cosine(vector, own), bar, cost)
            for (case, _, own, cost), vector in zip(rows, vectors, strict=True)
        ]
    return results
