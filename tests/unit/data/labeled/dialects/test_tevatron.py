"""Tevatron's rows: passages with their titles, and a form that needs its corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bothways.data.labeled.labeled_reader import read_examples
from bothways.errors import InputError
from files import write_jsonl


def row(**fields: Any) -> dict[str, Any]:
    return {"query_id": "1", "query": "what is a cat", **fields}


def test_a_passage_is_its_title_a_space_and_its_text(tmp_path: Path) -> None:
    passages = [
        {"docid": "1", "title": "Cat", "text": "an animal"},
        {"docid": "2", "title": None, "text": "a pet"},
        "bare text",
    ]
    path = write_jsonl(tmp_path / "a.jsonl", [row(positive_passages=passages, negative_passages=[{"text": "a car"}])])
    (found,) = read_examples(path)
    assert found.query == "what is a cat"
    assert found.positives == ("Cat an animal", "a pet", "bare text")
    assert found.negatives == ("a car",)


def test_a_row_without_negatives(tmp_path: Path) -> None:
    for negatives in ({}, {"negative_passages": None}, {"negative_passages": []}):
        path = write_jsonl(tmp_path / "a.jsonl", [row(positive_passages=[{"text": "a pet"}], **negatives)])
        assert read_examples(path)[0].negatives == ()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"positive_document_ids": ["1"]}, "row 1: the documents of positive_document_ids are in another file"),
        ({"positive_passages": 3}, "row 1: column 'positive_passages' holds a number, not a list of passages"),
        ({"positive_passages": [{"title": "t"}]}, r"row 1: positive_passages\[0\] is an? object without 'text'"),
        ({"positive_passages": [{"text": 3}]}, r"positive_passages\[0\]\.text"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_examples(write_jsonl(tmp_path / "a.jsonl", [row(**fields)]))
