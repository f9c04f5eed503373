"""A retrieval collection out of a pair file: each pair is a query and the document to be found, the collection is all second texts.

Equal texts are one query, or one document: a document that answers two queries is relevant to both, and never competes with its own
copy. Where the file says how good a pair is (a score, a label), `above` says from where on it counts; a pair that does not count
still gives its document to the collection.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

from bothways.data.columns import ANSWERED, ANSWERS, DUPLICATE, PAIR, POSITIVE, QUERY, SCORE, find_pair, text_in
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

    Args:
        source: the file or folder.
        split: which file of a folder.
        query, document: columns, found by the usual names otherwise.
        above: pairs whose score or label is greater are relevant; None for a file without such a column, where every pair is.

    Raises:
        InputError: a missing column, a value that is no text, a score or label without `above` or the other way round, or no
            relevant pair.
        SourceError: no such file.
    """
    if above is not None and not math.isfinite(above):
        raise InputError(f"{source}: above={above}; expected a finite number, since nothing can be compared with that")
    table = open_split(source, split)
    where, row = table.first()
    couples = (*ANSWERED, *itertools.product(QUERY, POSITIVE), *PAIR)
    query, document = find_pair(where, row, asked=(query, document), usual=couples, options=("query", "document"))
    grade = next((name for name in (*SCORE, *ANSWERS, *DUPLICATE) if name in row), None)
    if (grade is None) != (above is None):
        known = (
            f"has a column {grade!r}; say with above= which pairs are relevant" if grade else "has no score or label for above="
        )
        raise InputError(f"{table.name}: {known}")
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for where, row in table.rows():
        asked, found = (text_in(where, row, name, surrogates="refuse") for name in (query, document))
        document_id = corpus.setdefault(found, f"d{len(corpus):08d}")
        if grade is not None and above is not None and _number(where, row.get(grade), grade) <= above:
            continue
        query_id = queries.setdefault(asked, f"q{len(queries):08d}")
        qrels.setdefault(query_id, {})[document_id] = 1
    if not qrels:
        raise InputError(f"{table.name}: no pair is above {above:g}; nothing is relevant")
    return Collection({i: text for text, i in queries.items()}, {i: text for text, i in corpus.items()}, qrels)


def _number(where: str, value: object, name: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):  # which is not above anything, nor below it
        raise InputError(f"{where}: column {name!r} holds {value!r}, not a number to compare with above=")
    return number
