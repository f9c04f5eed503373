"""Evaluation data by name: pair files and the files of a collection, plain or gzipped, and the fingerprint of what was read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bothways.data.fingerprint import fingerprint_texts
from bothways.data.pairs import read_pairs
from bothways.errors import InputError


@dataclass(frozen=True)
class GoldPairs:
    """N ≥ 2 pairs that a correlation can be computed on.

    Attributes:
        first: N texts.
        second: N texts.
        gold: (N,) float64, finite, not all equal, on the file's own scale (0 to 5 in STS).
        subsets: the subset of each pair, or None where the file names none.
        source: the file read.
        fingerprint: sha256 of the content.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    gold: np.ndarray
    subsets: tuple[str, ...] | None
    source: str
    fingerprint: str


def gold_pairs(source: str | Path) -> GoldPairs:
    """Read a pair file, `test.jsonl[.gz]` of a folder, or whatever else `bothways.data.pairs.read_pairs` takes.

    Raises:
        InputError: what `read_pairs` raises; no test.jsonl in the folder; only one distinct gold score (no correlation exists).
        SourceError: no such file.
    """
    if Path(source).is_dir():
        source = find_file(Path(source), "test.jsonl")
    pairs = read_pairs(source)
    distinct = len(set(pairs.scores))
    if distinct < 2:
        raise InputError(f"{source}: {len(pairs)} pairs with {distinct} distinct gold score; a correlation needs at least two")
    content = fingerprint([pairs.first, pairs.second, pairs.scores, pairs.subset])
    subsets = tuple(pairs.subset) if pairs.subset else None
    return GoldPairs(tuple(pairs.first), tuple(pairs.second), np.array(pairs.scores), subsets, str(source), content)


def find_file(folder: Path, name: str) -> Path:
    """`folder/name` or `folder/name.gz`, whichever exists.

    Raises:
        InputError: neither does.
    """
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise InputError(f"{folder}: no {name} or {name}.gz in it")


def fingerprint(records: Iterable[Any]) -> str:
    """sha256 over JSON values, one after the other: what was scored, whatever the file's format and compression."""
    return fingerprint_texts(json.dumps(record, sort_keys=True) for record in records)
