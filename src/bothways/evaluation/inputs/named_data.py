"""Gold pairs, 0/1 labels, and the fingerprint of evaluation data.

`bothways.data.columns` has the usual names of columns. If a file has none of them, the error asks
for the name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bothways.data.fingerprint import fingerprint_texts
from bothways.data.labeled.graded_pairs import read_pairs
from bothways.errors import InputError
from bothways.evaluation.inputs.split_table import open_split


@dataclass(frozen=True)
class GoldPairs:
    """N ≥ 2 pairs with gold scores that a correlation can be computed on.

    Attributes:
        first: N texts.
        second: N texts.
        gold: (N,) float64, finite, not all equal, on the file's own scale (0 to 5 in STS).
        subsets: the subset of each pair, or None if the file does not name subsets.
        source: the file.
        fingerprint: sha256 of the content.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    gold: np.ndarray
    subsets: tuple[str, ...] | None
    source: str
    fingerprint: str


def gold_pairs(
    source: str | Path,
    *,
    split: str = "test",
    first: str | None = None,
    second: str | None = None,
    score: str | None = None,
) -> GoldPairs:
    """Read a pair file, one split of a folder, or any other source of pairs.

    For example, `gold_pairs("stsb", split="dev")`. The sources are those of
    `bothways.data.labeled.graded_pairs.read_pairs`.

    Args:
        source: the file, a folder with `SPLIT.jsonl` or another format, or a hub data set.
        split: the split of a folder.
        first: column of the first text. If None, it is found by its usual names.
        second: column of the second text. If None, it is found by its usual names.
        score: column of the score. If None, it is found by its usual names.

    Raises:
        InputError: if the folder does not have the split, if all gold scores are equal (there is no
            correlation), and for every reason of `read_pairs`.
        SourceError: if the file does not exist.
    """
    files: tuple[Path, ...] = ()
    if Path(source).exists():
        table = open_split(source, split)
        table.first()  # refuses an empty table
        files, source = table.files, table.name
    pairs = read_pairs(source, files=files, first=first, second=second, score=score)
    distinct = len(set(pairs.scores))
    if distinct < 2:
        raise InputError(
            f"{source}: {len(pairs)} pairs with {distinct} distinct gold score; a correlation needs at least two"
        )
    content = data_fingerprint([pairs.first, pairs.second, pairs.scores, pairs.subset])
    subsets = tuple(pairs.subset) if pairs.subset else None
    return GoldPairs(
        tuple(pairs.first),
        tuple(pairs.second),
        np.array(pairs.scores),
        subsets,
        str(source),
        content,
    )


def zero_or_one(where: str, row: Mapping[str, Any], name: str) -> int:
    """Read a label that says no or yes.

    Raises:
        InputError: if it is neither 0 nor 1. True and false, 1.0 and 0.0, and the digits as text
            count as these.
    """
    value = row.get(name)
    for number in (0, 1):
        if value in (number, str(number), f"{number}.0"):
            return number
    raise InputError(f"{where}: column {name!r} must be 0 or 1 (got {value!r})")


def data_fingerprint(records: Iterable[Any]) -> str:
    """Compute a sha256 over JSON values, one after the other.

    It identifies the scored data, for any format and compression of the file.
    """
    return fingerprint_texts(json.dumps(record, sort_keys=True) for record in records)
