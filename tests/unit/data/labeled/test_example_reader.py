"""Labeled rows that are read one after the other, against those that are read whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bothways.data.embedded import stdlib_names
from bothways.data.labeled.example import Example
from bothways.data.labeled.example_reader import ExampleReader
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.streams.shards import shards_of
from bothways.errors import InputError


def every(source: Path, reader: ExampleReader) -> list:
    return [item for shard in shards_of(str(source), reader) for item in shard.items()]


def test_examples_are_those_of_the_file_read_whole_with_repetitions(tmp_path: Path) -> None:
    rows = [{"query": f"q{n}", "pos": [f"p{n}"], "neg": [f"n{n}"]} for n in range(4)]
    (tmp_path / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "two.csv").write_text("anchor,positive\nq9,p9\n")
    (tmp_path / "three.jsonl").write_text(json.dumps({"number": 3}))
    reader = ExampleReader(query_prompt="Q: ")
    assert every(tmp_path, reader) == read_examples(tmp_path, query_prompt="Q: ")
    (tmp_path / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 2))
    assert len(every(tmp_path / "one.jsonl", reader)) == 8
    assert len(read_examples(tmp_path / "one.jsonl")) == 4
    with pytest.raises(InputError, match=r"three\.jsonl.*fit no known dialect"):
        every(tmp_path / "three.jsonl", reader)


def test_rows_of_a_hub_dataset_and_the_embedded_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = iter([(1, {"anchor": "q", "positive": "p"})])
    (row,) = ExampleReader(document_prompt="D: ").of_rows("org/name:en/train", rows)
    assert (row.query, row.positives, row.document_prompt, row.task) == ("q", ("p",), "D: ", "name")
    monkeypatch.setattr(stdlib_names, "training_pairs", lambda: iter([Example("q", ("p",))]))
    assert [row.query_prompt for row in ExampleReader(query_prompt="Q: ").embedded("python-stdlib")] == ["Q: "]


def test_embedded_pairs_stream_by_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdlib_names, "name_pairs", lambda: [Example("a name", ("code",))])
    monkeypatch.setattr(stdlib_names, "training_pairs", lambda: [Example("a description", ("code",))])
    found = {name: [row.query for row in every(name, ExampleReader())] for name in ("python-stdlib", "python-stdlib:names")}
    assert found == {"python-stdlib": ["a description"], "python-stdlib:names": ["a name"]}
