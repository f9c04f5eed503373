"""Known answers, copies and texts of the same label are never negatives."""

from __future__ import annotations

import pytest

from bothways.data.labeled.example import Example
from bothways.mining import mine
from bothways.mining.corpus import Documents
from bothways.mining.known import ANSWER, LABEL, QUERY, Known
from unit.mining.material import collection, key, signs


@pytest.mark.parametrize("method", ["bm25", "dense", "hybrid"])
def test_no_answer_copy_query_or_label_mate_is_ever_a_negative(method: str) -> None:
    examples, corpus = collection()
    found = mine(
        examples, corpus, method=method, encoder=None if method == "bm25" else signs, perc=None, negatives=150, window=(1, 400)
    )
    total = 0
    for row in found.examples:
        answers = {key(text) for other in examples if key(other.query) == key(row.query) for text in other.positives}
        mates = [other for other in examples if row.label and other.label == row.label]
        answers |= {key(text) for other in mates for text in (other.query, *other.positives)} | {key(row.query)}
        negatives = [key(text) for text in row.negatives]
        assert not answers & set(negatives)
        assert len(set(negatives)) == len(negatives)
        total += len(negatives)
    assert total > 1000
    counts = found.statistics.counts.filtered
    assert {"a known answer, or a copy", "the query itself, or a copy", "of the same label"} <= counts.keys()
    free = mine(examples, corpus, method=method, encoder=None if method == "bm25" else signs, perc=None, same_label=False)
    assert "of the same label" not in free.statistics.counts.filtered


def test_symmetric_pairs_and_labels_answer_each_other() -> None:
    rows = [
        Example("a", ("b",)),
        Example("B!", ("c",)),
        Example("x", ("y",), task="t", label="l"),
        Example("z", ("w",), task="t", label="l"),
    ]
    known = Known(rows)
    assert set(known.answers(rows[0])) == {"b"}
    assert set(known.answers(rows[1])) == {"a", "c"}, "a has B as its answer"
    assert set(known.same(rows[2])) == {"x", "y", "z", "w"}
    assert set(Known(rows, same_label=False).same(rows[2])) == set()


def test_excluded_places_have_the_nearest_reason() -> None:
    rows = [Example("a", ("b",), task="t", label="l"), Example("c", ("d",), task="t", label="l")]
    documents = Documents(["A", "b", "d", "other"], ["b"])
    excluded = Known(rows).among(documents).excluded(rows[0])
    assert [excluded.reason(place) for place in range(4)] == [QUERY, ANSWER, LABEL, None]
