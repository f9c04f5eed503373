"""A retrieval collection from a pair file: each pair is a query and its document.

All second texts together are the corpus. Equal texts are one query, or one document. So a document
that answers two queries is relevant to both, and never competes with its own copy. If the file
rates its pairs (a score, a label), pairs rated higher than `above` are relevant. The document of
any other pair is still in the corpus.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bothways.data.columns import (
    ANSWERED,
    ANSWERS,
    DUPLICATE,
    PAIR,
    POSITIVE,
    QUERY,
    SCORE,
    find_pair,
    text_in,
)
from bothways.errors import InputError
from bothways.evaluation.inputs.beir_collection import Collection
from bothways.evaluation.inputs.split_table import open_split


def read_pair_collection(
    source: str | Path,
    *,
    split: str = "test",
    query: str | None = None,
    document: str | None = None,
    above: float | None = None,
) -> Collection:
    """Read a pair file, or one split of a folder.

    For example, `read_pair_collection("stsb", split="dev", above=4)`.

    Args:
        source: the file or folder.
        split: the split of a folder.
        query: column of the query. If None, it is found by its usual names.
        document: column of the document. If None, it is found by its usual names.
        above: pairs with a greater score or label are relevant. If None, the file must not have
            such a column, and every pair is relevant.

    Raises:
        InputError: if a column is missing, if a value is not a text, if there is a score or label
            without `above` or the reverse, or if no pair is relevant.
        SourceError: if the file does not exist.
    """
    if above is not None and not math.isfinite(above):
        raise InputError(
            f"{source}: above={above} cannot be compared with scores; give a finite number"
        )
    table = open_split(source, split)
    where, row = table.first()
    couples = (*ANSWERED, *itertools.product(QUERY, POSITIVE), *PAIR)
    query, document = find_pair(
        where, row, asked=(query, document), usual=couples, options=("query", "document")
    )
    grade = _grade_column(table.name, row, above)
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for where, row in table.rows():
        asked, found = (
            text_in(where, row, name, surrogates="refuse") for name in (query, document)
        )
        document_id = corpus.setdefault(found, f"d{len(corpus):08d}")
        if (
            grade is not None
            and above is not None
            and _number(where, row.get(grade), grade) <= above
        ):
            continue
        query_id = queries.setdefault(asked, f"q{len(queries):08d}")
        qrels.setdefault(query_id, {})[document_id] = 1
    if not qrels:
        raise InputError(
            f"{table.name}: no pair is above {above:g}, so nothing is relevant; lower above="
        )
    return Collection(
        {i: text for text, i in queries.items()}, {i: text for text, i in corpus.items()}, qrels
    )


def _grade_column(table: str, row: Mapping[str, Any], above: float | None) -> str | None:
    """Return the column of scores or labels, or None if there is none.

    Raises:
        InputError: if there is one without `above`, or the reverse.
    """
    grade = next((name for name in (*SCORE, *ANSWERS, *DUPLICATE) if name in row), None)
    if (grade is None) != (above is None):
        known = (
            f"has a column {grade!r}; set above=NUMBER to say which pairs are relevant"
            if grade
            else "does not have a score or label for above=; leave it out"
        )
        raise InputError(f"{table} {known}")
    return grade


def _number(where: str, value: object, name: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):  # NaN is neither above nor below a number
        raise InputError(
            f"{where}: column {name!r} holds {value!r}, not a number to compare with above="
        )
    return number
