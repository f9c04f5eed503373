"""Sentence boundaries by rule."""

from __future__ import annotations

import time

import pytest

from bothways.data.text.sentences import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("No end", ["No end"]),
        ("", []),
        (" \n\n ", []),
        ("Dr. Smith met J. R. Brown. They spoke.", ["Dr. Smith met J. R. Brown.", "They spoke."]),
        ('"Yes, sir?" repeated Jules. "No."', ['"Yes, sir?" repeated Jules.', '"No."']),
        ("He said \u201cGo.\u201d Then he left.", ["He said \u201cGo.\u201d", "Then he left."]),
        ("It costs 3.5 dollars. Not 4.", ["It costs 3.5 dollars.", "Not 4."]),
        ("a line\nbroken in a book. And\nanother.", ["a line broken in a book.", "And another."]),
        ("A heading\n\nA text without end\n \nNext", ["A heading", "A text without end", "Next"]),
        (
            "今日は天気がいい。散歩しましょう！「はい。」と言った。",
            ["今日は天気がいい。", "散歩しましょう！", "「はい。」", "と言った。"],
        ),
        ("Wait... what? Über allen Gipfeln. ist Ruh", ["Wait... what?", "Über allen Gipfeln. ist Ruh"]),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_nothing_but_white_space_is_lost():
    text = "First one. Second (with brackets.) Third: 'quoted.' Mr. X went.\n\nNew paragraph! " * 20
    assert " ".join(sentences(text)).split() == text.split()


def test_a_book_without_an_empty_line_takes_linear_time():
    text = "It was a dark and stormy night. " * 40_000  # 1.3 MB; copying the rest of it at every stop would be 26 GB
    begin = time.perf_counter()
    assert len(sentences(text)) == 40_000
    assert time.perf_counter() - begin < 20


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("यह पहला वाक्य है। यह दूसरा वाक्य है। तीसरा भी।", 3),
        ("یہ پہلا جملہ ہے۔ کیا یہ دوسرا ہے؟ ہاں۔", 3),
        ("ይህ ነው። ያ ነው።", 2),
        ("Սա է։ Նա է։", 2),
    ],
)
def test_other_full_stops(text, count):
    assert len(sentences(text)) == count and " ".join(sentences(text)) == text


def test_a_row_of_dots_takes_linear_time():
    begin = time.perf_counter()
    assert sentences("." * 200_000 + "x") == ["." * 200_000 + "x"]
    # eight minutes when every dot was tried
    assert time.perf_counter() - begin < 5
