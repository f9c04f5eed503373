"""Corpora from whatever holds them, and the mined file that training reads back."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bothways.data.conversion.converted import write_examples
from bothways.data.decontamination import Overlap
from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_reader import read_examples
from bothways.errors import SourceError
from bothways.mining import mine
from bothways.mining.corpus import Documents, read_corpus
from unit.mining.material import collection, scattered


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_texts_once_and_answers_behind_them() -> None:
    found = Documents(["A b.", "a B", "", "c", "held", " "], ["c", "a b", "new", "C!"], Overlap(["Held"]))
    assert found.texts == ["A b.", "c", "a b", "new", "C!"]
    assert (found.candidates, found.given, found.empty, found.copies, found.held) == (2, 6, 2, 1, 1)
    assert found.places == {"c": 1, "a b": 2, "new": 3, "C!": 4}


def test_corpora(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("one\n\ntwo\n")
    assert list(read_corpus(tmp_path / "plain.txt")) == ["one", "two"]
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "body": "x"}\n{"text": "b", "body": "y"}\n')
    assert list(read_corpus(tmp_path / "rows.jsonl")) == ["a", "b"]
    assert list(read_corpus(str(tmp_path / "rows.jsonl"), column="body")) == ["x", "y"]
    folder = tmp_path / "beir"
    folder.mkdir()
    lines = [{"_id": "1", "title": "T", "text": "one"}, {"_id": "2", "title": "", "text": "two"}, {"_id": "3", "text": "three"}]
    with gzip.open(folder / "corpus.jsonl.gz", "wt") as stream:
        stream.write("".join(json.dumps(line) + "\n" for line in lines))
    assert list(read_corpus(folder)) == list(read_corpus(folder / "corpus.jsonl.gz")) == ["T one", "two", "three"]
    with pytest.raises(SourceError, match="no such file or folder"):
        list(read_corpus(tmp_path / "missing.jsonl"))


def test_a_mined_file_reads_back_equal(tmp_path: Path) -> None:
    examples, corpus = collection()
    rows = [Example(row.query, row.positives, (), None, None, "Q: ", "D: ", "task", row.label) for row in examples]
    found = mine(rows, corpus, method="dense", encoder=scattered).examples
    write_examples(found, tmp_path / "mined.jsonl")
    assert read_examples(tmp_path / "mined.jsonl") == found
    line = json.loads((tmp_path / "mined.jsonl").read_text().splitlines()[0])
    assert list(line) == ["query", "pos", "neg", "pos_scores", "neg_scores", "query_prompt", "document_prompt", "task", "label"]


def test_a_tevatron_corpus_has_its_titles(tmp_path: Path) -> None:
    """Its training rows hold "title text"; the same document without its title would be mined as a
    negative of itself.
    """
    write(tmp_path / "corpus.jsonl", [{"docid": "1", "title": "Cat", "text": "is an animal"}, {"docid": "2", "text": "a car"}])
    passages = [{"docid": "1", "title": "Cat", "text": "is an animal"}]
    write(tmp_path / "rows.jsonl", [{"query_id": "q", "query": "what is a cat, an animal", "positive_passages": passages}])
    assert list(read_corpus(tmp_path / "corpus.jsonl")) == ["Cat is an animal", "a car"]
    rows = read_examples(tmp_path / "rows.jsonl")
    (row,) = mine(rows, tmp_path / "corpus.jsonl", method="dense", encoder=scattered, perc=None).examples
    assert row.negatives == ("a car",)


def test_labelled_rows_as_a_corpus_are_their_documents(tmp_path: Path) -> None:
    """Not their queries, although a column of that name is a text to other readers."""
    write(tmp_path / "rows.jsonl", [{"query": "q", "pos": ["p"], "neg": ["n", "m"]}, {"query": "r", "pos": ["o"]}])
    assert list(read_corpus(tmp_path / "rows.jsonl")) == ["p", "n", "m", "o"]
    assert list(read_corpus(tmp_path / "rows.jsonl", column="query")) == ["q", "r"]
