"""Searches an index that compares signs first, as `search.quantized` does with vectors in memory.

The store finds the rows with the most signs in common with a query. All rows that have as many as
the last candidate are asked for, because many rows tie. Then the candidates are scored as the
`Quantization` says. So the results are those of `search.quantized.nearest` over all vectors, and
rows with equal scores are in the order of file, row and span.

Letters: n rows, D numbers of a vector.
"""

from __future__ import annotations

import numpy as np

from bothways.errors import InputError
from bothways.indexing.filters import Condition
from bothways.indexing.index_rows import Entry
from bothways.indexing.store import Store
from bothways.search.dense import SPARE
from bothways.search.quantized import Quantization, signs
from bothways.similarity import scores


def check_precision(quantization: Quantization, place: str, *, approximate: bool) -> None:
    """Check that an index can keep its rows in this precision.

    Raises:
        InputError: it is int8, or it is asked for with what only float32 can do.
    """
    if not quantization:
        return
    if quantization.precision == "int8":
        raise InputError(
            f"{place}: an index keeps float32 or binary, not int8; choose one of them with --precision"
        )
    if quantization.rescore_with == "int8":
        raise InputError(
            f"{place}: an index keeps float32 for --rescore-with, not int8; choose float32, or leave it out"
        )
    if approximate:
        raise InputError(
            f"{place}: --approximate does not work with --precision binary, which compares bits; leave one of them out"
        )


def nearest_by_signs(
    store: Store, query: np.ndarray, top: int, where: Condition | None, quantization: Quantization
) -> list[tuple[Entry, float]]:
    """Find the rows with the best scores for a query (D,) of length 1, best first.

    Args:
        store: a store that keeps signs.
        query: the vector.
        top: number of rows.
        where: a condition that rows satisfy.
        quantization: binary, with or without candidates that are scored again.
    """
    first = top * (quantization.rescore or 1)
    wanted, own = first + SPARE, signs(query)[None]
    while True:
        near = store.nearest_by_signs(query, wanted, where)
        kept = signs(near.vectors)
        (common,) = scores(own, kept, "dot")
        order = _ordered(common, near.entries)
        if len(order) < wanted or common.min() < common[order[first - 1]]:
            break
        wanted *= 2
    order = order[:first]
    found = common / len(query)
    if quantization.rescore is not None:
        exact = quantization.rescore_with == "float32"
        (found,) = scores(query[None], near.vectors if exact else kept, "dot")
        found = found if exact else found / len(query) ** 0.5
    again = _ordered(found[order], [near.entries[place] for place in order])[:top]
    return [(near.entries[order[place]], float(found[order[place]])) for place in again]


def _ordered(found: np.ndarray, entries: list[Entry]) -> list[int]:
    """Return places by score (n,), the best first, and by row if scores are equal."""
    return sorted(range(len(found)), key=lambda place: (-found[place], entries[place].order))
