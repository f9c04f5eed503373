"""Sentence pairs with a gold similarity: STS Benchmark, SemEval STS 2012-2016, SICK and their like.

No row is skipped and no text is repaired, because a missing or guessed pair would change a
published score in silence. Every doubtful row is an error.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bothways.data.columns import SCORE, find_column, find_pair, text_in
from bothways.data.rows import finite_number, iter_rows
from bothways.data.text_sources import iter_hub_rows, resolve_texts
from bothways.errors import InputError


@dataclass(frozen=True)
class Pairs:
    """N sentence pairs.

    Attributes:
        first: N texts.
        second: N texts. `second[i]` is compared with `first[i]`.
        scores: N finite gold similarities on the scale of the file (0-5 for STS, 1-5 for SICK).
        subset: N names of the part that each pair comes from (MSRpar, headlines …), or None if the
            file has no such column.
    """

    first: list[str]
    second: list[str]
    scores: list[float]
    subset: list[str] | None = None

    def __len__(self) -> int:
        return len(self.scores)


class GradedPair(NamedTuple):
    """One pair of a training set.

    Attributes:
        first: a text.
        second: the text that it is compared with.
        score: gold similarity, on the scale of the group.
        group: name of the source. Only scores of one group are comparable.
    """

    first: str
    second: str
    score: float
    group: str = ""


def graded_pairs(source: str | Path, limit: int | None = None) -> list[GradedPair]:
    """Read the pairs of one source for training. See `read_pairs`.

    Args:
        source: the file or hub dataset.
        limit: the first so many pairs. If None, all.
    """
    found = read_pairs(source)
    rows = zip(found.first, found.second, found.scores)
    return [GradedPair(*row, str(source)) for row in itertools.islice(rows, limit)]


def read_pairs(
    source: str | Path,
    *,
    files: Sequence[Path] = (),
    first: str | None = None,
    second: str | None = None,
    score: str | None = None,
) -> Pairs:
    """Read sentence pairs from a .jsonl, .json, .csv, .tsv or .parquet file, or from a hub dataset.

    For example, read_pairs("pairs.csv", first="a", second="b", score="gold") reads three columns
    that have unusual names.

    Args:
        source: the file, each format also compressed, or `org/name:config/split`.
        files: the shards of the source, which are read in its place. Messages name each of them.
        first: the column of the first text. If None, the first usual pair of
            `bothways.data.columns.PAIR`.
        second: the column of the second text.
        score: the column of the gold similarity, a finite number. If None, the first of
            `bothways.data.columns.SCORE`.

    Raises:
        InputError: a broken file, a missing column, a value that is not a text or holds a lone
            surrogate, a score that is not a finite number, or no pair. Names the file and the row.
        SourceError: the file does not exist, or the hub dataset cannot be reached.
    """
    found = Pairs([], [], [])
    subset: list[str] = []
    one, two = "", ""
    for where, row in _located_rows(source, files):
        if not found.scores:
            one, two = find_pair(where, row, asked=(first, second))
            score = find_column(where, row, SCORE, asked=score, option="score")
        assert score is not None
        found.first.append(text_in(where, row, one, surrogates="refuse"))
        found.second.append(text_in(where, row, two, surrogates="refuse"))
        found.scores.append(finite_number(row[find_column(where, row, (score,))], score, where))
        if "subset" in row:
            subset.append(str(row["subset"]))
        if len(subset) not in (0, len(found.scores)):
            raise InputError(
                f"{where}: some rows have a column 'subset' and some do not; give it to all or to none"
            )
    if not found.scores:
        raise InputError(
            f"{source}: holds no pair; give at least one row with two texts and a score, for example "
            "sentence1, sentence2 and score"
        )
    return Pairs(found.first, found.second, found.scores, subset or None)


def _located_rows(
    source: str | Path, files: Sequence[Path]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not files:
        found = resolve_texts(source)
        if found.kind not in ("file", "hub"):
            raise InputError(
                f"{source}: pairs are read from one file or hub dataset, not from a {found.kind} source"
            )
        if found.kind == "hub":
            for number, row in iter_hub_rows(found):
                yield f"{found.label}, row {number}", row
        files = found.files
    for path in files:
        for number, row in iter_rows(path):
            yield f"{path}, row {number}", row
