"""A tiny encoder, texts, and how a job is run, killed and looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import bothways as bw
from bothways.encoder.encoder import Encoder
from tiny import SENTENCES

TEXTS = [f"{text} {number}" for number in range(5) for text in SENTENCES]
ROWS = 7
"""Texts of a shard: six shards, the last one of five texts."""
CPU: dict[str, Any] = {"device": "cpu", "dtype": "float32", "shard_rows": ROWS}


def source(folder: Path, texts: list[str] = TEXTS) -> Path:
    """The texts as JSONL, an empty one among them."""
    lines = [json.dumps({"text": text}) for text in texts]
    file = folder / "texts.jsonl"
    file.write_text("\n".join([*lines[:3], json.dumps({"text": " "}), *lines[3:]]) + "\n", encoding="utf-8")
    return file


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def nearest(encoder: Encoder, texts: list[str], **options: object) -> np.ndarray:
    """The vectors that plain `encode` gives."""
    return encoder.encode(texts, normalize_embeddings=True, **options)  # type: ignore[arg-type, return-value]


def reopened(folder: Path) -> Encoder:
    """The tiny encoder of a folder, on the CPU."""
    return bw.load(folder, dtype="float32", device="cpu")
