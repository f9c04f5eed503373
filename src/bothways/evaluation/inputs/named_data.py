"""Evaluation data by name: which file of a folder, which columns of a file, and the fingerprint of what was read.

Nothing is guessed beyond names that public data sets use; what is not found by name is asked for, with the names that are there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bothways.data.fingerprint import fingerprint_texts
from bothways.data.labeled.pairs import read_pairs
from bothways.data.rows import LONE_SURROGATE, type_name
from bothways.errors import InputError
from bothways.evaluation.inputs.split_table import open_split

# how the two texts of a pair and its gold similarity are called in public data, in order of preference
PAIR_COLUMNS = (
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("question1", "question2"),
    ("sentence_A", "sentence_B"),
    ("premise", "hypothesis"),
)
SCORE_COLUMNS = ("score", "similarity", "similarity_score", "relatedness_score")


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


def gold_pairs(
    source: str | Path,
    *,
    split: str = "test",
    first: str | None = None,
    second: str | None = None,
    score: str | None = None,
) -> GoldPairs:
    """Read a pair file, one split of a folder, or whatever else `bothways.data.labeled.pairs.read_pairs` takes.

    Args:
        source: the file, a folder that holds `SPLIT.jsonl` or another format, or a hub data set.
        split: which file of a folder.
        first, second, score: columns; by default the first of `PAIR_COLUMNS` and `SCORE_COLUMNS` that the file has.

    Raises:
        InputError: what `read_pairs` raises; no such split in the folder; only one distinct gold score (no correlation exists).
        SourceError: no such file.
    """
    usual = PAIR_COLUMNS[0]
    files: tuple[Path, ...] = ()
    if Path(source).exists():
        table = open_split(source, split)
        files, source = table.files, table.name
        where, row = table.first()
        usual = pair_columns(where, row, first, second)
        score = column(where, row, score, SCORE_COLUMNS, "score")
    pairs = read_pairs(source, files=files, columns=(first or usual[0], second or usual[1]), score=score or SCORE_COLUMNS[0])
    distinct = len(set(pairs.scores))
    if distinct < 2:
        raise InputError(f"{source}: {len(pairs)} pairs with {distinct} distinct gold score; a correlation needs at least two")
    content = fingerprint([pairs.first, pairs.second, pairs.scores, pairs.subset])
    subsets = tuple(pairs.subset) if pairs.subset else None
    return GoldPairs(tuple(pairs.first), tuple(pairs.second), np.array(pairs.scores), subsets, str(source), content)


def column(where: str, row: Mapping[str, Any], asked: str | None, usual: Sequence[str], what: str) -> str:
    """The column called `asked`, or the first of the `usual` names there is.

    Raises:
        InputError: neither is there.
    """
    names = ", ".join(row) or "none"
    if asked is not None and asked not in row:
        raise InputError(f"{where}: no column {asked!r}; the columns there are: {names}")
    found = asked if asked is not None else next((name for name in usual if name in row), None)
    if found is None:
        raise InputError(f"{where}: no column for {what}, such as {usual[0]!r}; name it with {what}=, one of: {names}")
    return found


def pair_columns(
    where: str,
    row: Mapping[str, Any],
    first: str | None,
    second: str | None,
    usual: Sequence[tuple[str, str]] = PAIR_COLUMNS,
    what: tuple[str, str] = ("first", "second"),
) -> tuple[str, str]:
    """The columns of the two texts of a pair: as asked, or the first of the `usual` couples of which both are there.

    Raises:
        InputError: an asked one is missing, or none of the couples is there.
    """
    couple = next((couple for couple in usual if set(couple) <= row.keys()), ("", ""))
    return (
        column(where, row, first, [couple[0], usual[0][0]][not couple[0] :], what[0]),
        column(where, row, second, [couple[1], usual[0][1]][not couple[1] :], what[1]),
    )


def text_of(where: str, row: Mapping[str, Any], name: str) -> str:
    """A text cell. Nothing may be repaired or skipped here: it would change a score in silence.

    Raises:
        InputError: the column is missing, or its value is no text or holds a lone surrogate.
    """
    if name not in row:
        raise InputError(f"{where}: no column {name!r}; the columns there are: {', '.join(row) or 'none'}")
    return checked_text(where, name, row[name])


def checked_text(where: str, name: str, value: Any) -> str:
    """`value` if it is a text that can be encoded; see `text_of`."""
    if not isinstance(value, str):
        raise InputError(f"{where}: column {name!r} holds a {type_name(value)}, not a text")
    if LONE_SURROGATE.search(value):
        raise InputError(f"{where}: column {name!r} holds a lone surrogate, which is no character; repair the text")
    return value


def zero_or_one(where: str, row: Mapping[str, Any], name: str) -> int:
    """A label that says no or yes.

    Raises:
        InputError: it is neither 0 nor 1 (true and false, 1.0 and 0.0, and the digits as text, count as these).
    """
    value = row.get(name)
    for number in (0, 1):
        if value in (number, str(number), f"{number}.0"):
            return number
    raise InputError(f"{where}: column {name!r} must be 0 or 1 (got {value!r})")


def fingerprint(records: Iterable[Any]) -> str:
    """sha256 over JSON values, one after the other: what was scored, whatever the file's format and compression."""
    return fingerprint_texts(json.dumps(record, sort_keys=True) for record in records)
