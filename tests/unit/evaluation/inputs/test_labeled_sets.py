"""LabeledSet text: found by name or by option, in every format; what cannot be read is named with
file and row.
"""

from __future__ import annotations

import gzip
import json

import pytest

from bothways.errors import InputError, SourceError
from bothways.evaluation.inputs.labeled_sets import class_numbers, read_labeled_set, read_labeled_sets
from bothways.evaluation.inputs.split_table import split_files
from unit.evaluation.vectors import write

ROWS = [
    {"text": "one", "label": 2, "id": 7},
    {"text": "two", "label": 10, "id": 8},
    {"text": "three, or so", "label": 2, "id": 9},
]


def test_formats_agree(tmp_path):
    write(tmp_path / "a" / "test.jsonl", ROWS)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "test.json.gz").write_bytes(gzip.compress(json.dumps(ROWS).encode()))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "test.csv").write_text('id,text,label\n7,one,2\n8,two,10\n9,"three, or so",2\n')
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "test.tsv").write_text("label\tsentence\n2\tone\n10\ttwo\n2\tthree, or so\n")
    for folder in "abcd":
        found = read_labeled_set(tmp_path / folder)
        assert found.texts == ("one", "two", "three, or so")
        assert found.labels == ("2", "10", "2")


def test_columns_by_option_and_sets_of_texts(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"t": "one", "y": "b"}, {"t": "two", "y": "a"}])
    assert read_labeled_set(path, text="t", label="y").labels == ("b", "a")
    rows = [{"sentences": ["a", "b"], "labels": [0, 1]}, {"sentences": ["c", "d", "e"], "labels": ["x", "y", "x"]}]
    path = write(tmp_path / "sets.jsonl", rows)
    sets = read_labeled_sets(path, split="test", text=None, label=None)
    assert [part.texts for part in sets] == [("a", "b"), ("c", "d", "e")]
    with pytest.raises(InputError, match="rows are lists"):
        read_labeled_set(path)


def test_class_numbers_follow_numbers_or_the_alphabet():
    assert class_numbers(["10", "9", "-1", "9"]) == ([2, 1, 0, 1], ["-1", "9", "10"])
    assert class_numbers(["b", "10", "a"]) == ([2, 0, 1], ["10", "a", "b"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a", "label": 0}], "1 texts of one class"),
        ([{"txt": "a", "label": 0}], r"row 1: no column for text, such as 'text'; name it with text=, one of: txt, label"),
        ([{"text": "a", "y": 0}], r"row 1: no column for label, such as 'label_text'; name it with label=, one of: text, y"),
        ([{"text": "a", "label": 0}, {"text": None, "label": 1}], "row 2: column 'text' holds a null, not a text"),
        ([{"text": "a", "label": 0}, {"text": "\ud800", "label": 1}], "row 2: column 'text' holds a lone surrogate"),
        ([{"text": "a", "label": 0}, {"label": 1}], "row 2: no column 'text'"),
        ([{"text": "a", "label": 0}, {"text": "b", "label": 0.5}], "row 2: the label is 0.5; give the row a name"),
        ([{"text": "a", "label": 0}, {"text": "b", "label": ""}], "row 2: the label is nothing"),
        ([{"text": ["a"], "label": [0, 1]}], "row 1: columns 'text' and 'label' must be lists of one length"),
        ([], "is empty"),
    ],
)
def test_broken_rows_are_named(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        read_labeled_sets(write(tmp_path / "test.jsonl", rows), split="test", text=None, label=None)


def test_folders_and_files_that_are_not_there(tmp_path):
    write(tmp_path / "train.jsonl", ROWS)
    with pytest.raises(
        InputError, match=r"no test\.jsonl or test in another format; choose one with split=NAME, the files are: train\.jsonl"
    ):
        read_labeled_set(tmp_path)
    with pytest.raises(SourceError, match=r"none\.jsonl: no such file"):
        read_labeled_set(tmp_path / "none.jsonl")
    write(tmp_path / "train.json", ROWS)
    with pytest.raises(InputError, match=r"has both train\.json and train\.jsonl"):
        split_files(tmp_path, "train")
