"""Prompts that only the rows of a stage have, and what is said about them when the encoder is
saved.
"""

from __future__ import annotations

from bothways.data.labeled.example import Example
from bothways.training.loop.unstored_prompts import say_unstored, unstored_prompts

ROWS = [
    Example("a", ("b",), query_prompt="Rare: "),
    Example("c", ("d",), query_prompt="Find: ", document_prompt="Doc: "),
    Example("e", ("f",), query_prompt="Find: "),
    "a plain text",
]


def test_those_of_the_rows_that_no_name_stores_by_frequency() -> None:
    assert unstored_prompts(ROWS, {}) == ["Find: ", "Doc: ", "Rare: "]
    assert unstored_prompts(ROWS, {"query": "Find: ", "other": "x"}) == ["Doc: ", "Rare: "]


def test_the_notice_says_what_to_pass(caplog) -> None:
    say_unstored(ROWS, {"query": "Find: "}, "supervised")
    assert "stage supervised: the rows have 2 prompts that the encoder does not store: 'Doc: ', 'Rare: '" in caplog.text
    assert "encode(texts, prompt='Doc: ')" in caplog.text


def test_nothing_is_said_if_all_are_stored(caplog) -> None:
    say_unstored(ROWS, {"query": "Find: ", "document": "Doc: ", "rare": "Rare: "}, "supervised")
    say_unstored(["a text"], {}, "simcse")
    assert not caplog.text
