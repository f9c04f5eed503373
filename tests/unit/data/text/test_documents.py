"""Whole documents: a book's lines stay together, and parts of labelled rows are no documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bothways.data.text.documents import iter_documents, read_documents
from bothways.data.text.passages import read_passages
from bothways.data.text.readers import read_texts
from bothways.errors import InputError

BOOK = "Chapter 1\n\nIt was a dark\nand stormy night,\nand it rained.\n"
WIKITEXT = "\n = One = \n\nfirst\n = = part = = \nmore\n = Two = \nsecond\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a-book.txt").write_text(BOOK, encoding="utf-8")
    (tmp_path / "b-articles.txt").write_text(WIKITEXT, encoding="utf-8")
    (tmp_path / "c-rows.jsonl").write_text('{"text": "three\\nlines\\nhere"}\n{"text": " "}\n', encoding="utf-8")
    return tmp_path


def test_a_book_is_one_document_with_its_lines_as_they_stand(folder: Path) -> None:
    assert read_documents(folder / "a-book.txt") == [BOOK]
    assert read_documents(folder / "a-book.txt", unit="line") == read_texts(folder / "a-book.txt")


def test_a_folder_mixes_formats(folder: Path) -> None:
    found = read_documents(folder)
    assert found == [BOOK, "\nfirst\n\nmore\n", "second\n", "three\nlines\nhere"]
    assert found == read_passages(folder)
    assert read_documents(folder, limit=2) == found[:2]


def test_parts_of_labelled_rows_are_read_by_name_only(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"query": "q", "positive": "a long answer"}) + "\n", encoding="utf-8")
    assert read_texts(rows) == ["q"]
    with pytest.raises(
        InputError, match="row 1: no column for text, such as 'text'; name it with column=, one of: query, positive"
    ):
        read_documents(rows)
    assert read_documents(rows, column="positive") == ["a long answer"]


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text("\n \n", encoding="utf-8")
    with pytest.raises(InputError, match="holds no text"):
        read_documents(tmp_path / "blank.txt")
    with pytest.raises(InputError, match="limit: 0 texts"):
        iter_documents(tmp_path / "blank.txt", limit=0)
