"""Sentence pairs with a gold similarity: the files of STS Benchmark, SemEval STS 2012-2016 and SICK.

Apart from the text readers because nothing may be skipped here: a dropped or guessed pair changes a published score in silence,
so every doubtful row is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bothways.data.rows import LONE_SURROGATE, finite_number, iter_rows, type_name
from bothways.data.sources import iter_hub_rows, resolve_texts
from bothways.errors import InputError


@dataclass(frozen=True)
class Pairs:
    """N sentence pairs.

    Attributes:
        first: N texts.
        second: N texts, `second[i]` compared with `first[i]`.
        scores: N finite gold similarities in the file's own scale (0-5 for STS, 1-5 for SICK).
        subset: N names of the part each pair comes from (MSRpar, headlines …), or None where the file has no such column.
    """

    first: list[str]
    second: list[str]
    scores: list[float]
    subset: list[str] | None = None

    def __len__(self) -> int:
        return len(self.scores)


def read_pairs(
    source: str | Path,
    *,
    files: Sequence[Path] = (),
    columns: tuple[str, str] = ("sentence1", "sentence2"),
    score: str = "score",
) -> Pairs:
    """Read sentence pairs from a .jsonl, .json, .csv, .tsv or .parquet file, each also with .gz, or from a hub dataset.

    Args:
        source: the file, or `org/name:config/split`.
        files: the shards of the source, which are then read in place of it; messages name each by itself.
        columns: the columns of the two texts.
        score: the column of the gold similarity, a finite number.

    Raises:
        InputError: a broken file, a missing column, a text that is none or holds a lone surrogate, a score that is missing,
            NaN, infinite or no number, or no pair at all; names the file and the row.
        SourceError: no such file, or the hub dataset cannot be reached.
    """
    first: list[str] = []
    second: list[str] = []
    scores: list[float] = []
    subset: list[str] = []
    for where, row in _located_rows(source, files):
        first.append(_text(where, row, columns[0]))
        second.append(_text(where, row, columns[1]))
        scores.append(finite_number(_value(where, row, score), score, where))
        if "subset" in row:
            subset.append(str(row["subset"]))
        if len(subset) not in (0, len(scores)):
            raise InputError(f"{where}: some rows have a column 'subset' and some have not; give it to all or to none")
    if not scores:
        raise InputError(f"{source}: holds no pair; give at least one row with {columns[0]}, {columns[1]} and {score}")
    return Pairs(first, second, scores, subset or None)


def _located_rows(source: str | Path, files: Sequence[Path]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not files:
        found = resolve_texts(source)
        if found.kind not in ("file", "hub"):
            raise InputError(f"{source}: pairs are read from one file or hub dataset, not from a {found.kind} source")
        if found.kind == "hub":
            yield from ((f"{found.label}, row {number}", row) for number, row in iter_hub_rows(found))
        files = found.files
    for path in files:
        yield from ((f"{path}, row {number}", row) for number, row in iter_rows(path))


def _value(where: str, row: Mapping[str, Any], column: str) -> Any:
    if column not in row:
        raise InputError(f"{where}: no column {column!r}; the columns there are: {', '.join(row) or 'none'}")
    return row[column]


def _text(where: str, row: Mapping[str, Any], column: str) -> str:
    value = _value(where, row, column)
    if not isinstance(value, str):
        raise InputError(f"{where}: column {column!r} holds a {type_name(value)}, not a text")
    if LONE_SURROGATE.search(value):
        raise InputError(f"{where}: column {column!r} holds a lone surrogate, which is no character; repair the text")
    return value
