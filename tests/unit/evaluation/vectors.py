"""Encoders of tests whose vectors are written in the texts: what a task measures can then be laid
down beforehand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Written:
    """A text `"1 0 2.5 | anything"` has the vector (1, 0, 2.5); counts what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str | None, int]] = []

    def _encode(self, texts: list[str], role: str, prompt: str | None) -> np.ndarray:
        self.calls.append((role, prompt, len(texts)))
        return np.array([[float(x) for x in text.split("|")[0].split()] for text in texts], dtype=np.float32)

    def encode(self, texts: list[str], prompt: str | None = None) -> np.ndarray:
        return self._encode(texts, "symmetric", prompt)

    def encode_query(self, texts: list[str], prompt: str | None = None) -> np.ndarray:
        return self._encode(texts, "query", prompt)

    def encode_document(self, texts: list[str], prompt: str | None = None) -> np.ndarray:
        return self._encode(texts, "document", prompt)


def written(vectors: np.ndarray) -> list[str]:
    """Texts that `Written` encodes as the rows of `vectors`, each different."""
    return [" ".join(repr(float(x)) for x in row) + f" | {number}" for number, row in enumerate(vectors)]


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
