"""Which texts answer a query, over the whole data."""

from __future__ import annotations

import hashlib

from bothways.data.labeled.example import Example
from bothways.data.labeled.right_answers import RightAnswers, document_id, query_id, text_id


def test_what_is_the_same_text() -> None:
    assert document_id("a  b\n") == document_id("a b") != document_id("A b")
    assert document_id("caf\u00e9") == document_id("cafe\u0301")
    assert query_id("What is it?") == query_id(" what is  it") != query_id("what is it not")
    assert query_id("?") != query_id("!")
    answers = RightAnswers()
    answers.add([Example("q", ("a",))])
    answers.add([Example("q", ("a",))])
    assert answers.known(Example("q", ("a",))) == [document_id("q"), document_id("a")]


def test_labels_and_answers_of_all_rows_decide_which_negatives_are_wrong() -> None:
    rows = [
        Example("where is the cat", ("on the sill",), ("by  the window", "a dog"), task="t", label="cats"),
        Example("Where is the cat?", ("by the window",)),
        Example("a dog", ("barks",), task="t", label="cats"),
        Example("a dog", ("barks",), task="other", label="dogs"),
    ]
    answers = RightAnswers()
    answers.add(rows)
    assert answers.wrong(rows[0]) == [0, 1]
    assert answers.wrong(rows[0], by_label=False) == [0]
    assert answers.wrong(rows[0], by_text=False) == [1]
    assert answers.wrong(rows[1]) == []
    assert answers.labels_of(document_id("a dog")) == sorted([text_id("t", "cats"), text_id("other", "dogs")])
    assert answers.widest == 2


def test_numbers_are_the_same_in_every_process() -> None:
    assert text_id("a", "b") == int.from_bytes(hashlib.blake2b(b"a\x1fb", digest_size=8).digest(), "big") >> 1
    assert 0 <= text_id("\ud800") < 2**63
