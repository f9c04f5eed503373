"""`verify_export`: run an export in the loaders that are installed and compare its vectors with bothways' own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bothways.errors import InputError
from bothways.exports import llama_cpp
from bothways.exports.manifest import read_manifest
from bothways.exports.onnx_encoder import load_export
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
    manifest = read_manifest(Path(folder))
    try:
        file, bar, tokens = Path(folder) / manifest["file"], float(manifest["bar"]), int(manifest["tokens"])
        rows = [(str(row["case"]), str(row["text"]), row["vector"], float(row["cost"])) for row in manifest["reference"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: damaged ({type(error).__name__}); export the model again") from None
    texts = [row[1] for row in rows]
    results = []
    for way in ("single", "batch"):
        if manifest["target"] == "onnx":
            loader, vectors = "ONNX Runtime", _onnx(Path(folder), texts, batch=way == "batch")
        else:
            loader, vectors = "llama.cpp", llama_cpp.encode(file, texts, tokens=tokens, batch=way == "batch")
        results += [
            Result(loader, f"{case}, {way}", cosine(vector, own), bar, cost)
            for (case, _, own, cost), vector in zip(rows, vectors, strict=True)
        ]
    return results


def _onnx(folder: Path, texts: list[str], *, batch: bool) -> list[list[float]]:
    encoder = load_export(folder)
    vectors: list[list[float]] = encoder.encode(texts, prompt="", batch_size=len(texts) if batch else 1).tolist()
    return vectors
