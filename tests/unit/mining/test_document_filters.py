"""Limits on scores, at the limit and around it."""

from __future__ import annotations

from bothways.data.labeled.example import Example
from unit.mining.material import mined


def test_a_score_of_exactly_the_share_is_too_high() -> None:
    row = [Example("q", ("p 0.8",))]
    assert mined(row, ["a 0.76"]) == [()]  # 0.95 of 0.8
    assert mined(row, ["a 0.7599"]) == [("a 0.7599",)]
    assert mined(row, ["a 0.76"], perc=0.951) == [("a 0.76",)]
    assert mined(row, ["a 0.76"], perc=None, relative_margin=0.05) == [()]
    assert mined(row, ["a 0.76"], perc=None, relative_margin=0.049) == [("a 0.76",)]
    assert mined(row, ["a 0.7"], margin=0.1) == [()]
    assert mined(row, ["a 0.6999"], margin=0.1) == [("a 0.6999",)]
    assert mined(row, ["a 0.5"], max_score=0.5) == [()]
    assert mined(row, ["a 0.4999"], max_score=0.5) == [("a 0.4999",)]


def test_below_zero_the_share_still_lies_under_the_answer() -> None:
    row = [Example("q", ("p -0.4",))]
    assert mined(row, ["a -0.41"]) == [()]  # the limit is -0.42, not -0.38
    assert mined(row, ["a -0.43"]) == [("a -0.43",)]


def test_the_lowest_of_all_answers_sets_the_limit() -> None:
    rows = [Example("q", ("p 0.9", "p 0.6")), Example("other", ("p 0.9",)), Example("Other.", ("p 0.5",), task="another")]
    corpus = ["a 0.7", "a 0.56", "a 0.46"]
    assert mined(rows[:1], corpus, negatives=3) == [("a 0.56", "a 0.46")]
    assert mined(rows[1:2], corpus, negatives=3) == [("a 0.7", "a 0.56", "a 0.46")]
    # the same query with another answer, in other spelling and another task
    assert mined(rows[1:], corpus, negatives=3) == [("a 0.46",), ("a 0.46",)]
