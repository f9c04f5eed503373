"""The row of supervised training: its labels, and texts without the scores or labels they need."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bothways.data.labeled.example import Example
from bothways.errors import InputError


def test_labels_of_the_query_and_of_each_positive() -> None:
    row = Example("q", ("p", "r"), label="b", labels=("a", "b"))
    assert row.all_labels == ("b", "a")
    assert row.labels_of_positives == (("b",), ("b",))
    assert Example("q", ("p",)).labels_of_positives == ((),)
    assert Example("q", ("p",), label="b", positive_labels=(("c", "d"),)).labels_of_positives == (("c", "d"),)


def test_negatives_keep_their_scores_and_labels() -> None:
    row = Example("q", ("p",), ("a", "b", "c"), None, (0.1, 0.2, 0.3), "Q: ", negative_labels=(("x",), ("y",), ()))
    kept = row.with_negatives([2, 0])
    assert (kept.negatives, kept.negative_scores, kept.negative_labels) == (("c", "a"), (0.3, 0.1), ((), ("x",)))
    assert (kept.query, kept.positives, kept.query_prompt) == ("q", ("p",), "Q: ")
    assert Example("q", ("p",), ("a",)).with_negatives([]) == Example("q", ("p",))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"positives": ()}, "example 'q': no positive; every row needs at least one"),
        ({"positive_scores": (0.5, 0.1)}, "example 'q': 1 positives but 2 positive scores"),
        ({"negatives": ("a", "b"), "negative_scores": (0.5,)}, "example 'q': 2 negatives but 1 negative scores"),
        ({"positive_labels": ()}, "example 'q': 1 positives but labels of 0"),
        ({"negative_labels": (("x",),)}, "example 'q': 0 negatives but labels of 1"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Example(**{"query": "q", "positives": ("p",), **fields})
