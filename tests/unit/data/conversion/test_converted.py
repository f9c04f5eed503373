"""Written examples: the same bytes, whole or not at all, with an account."""

import gzip

import pytest

from bothways.data.conversion.converted import Converted, write_examples
from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_reader import read_examples
from bothways.errors import InputError


def test_same_examples_give_the_same_bytes(tmp_path):
    examples = [Example("q", ("p",), ("n",)), Example("r", ("é",))]
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_examples(examples, tmp_path / name)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    expected = '{"query": "q", "pos": ["p"], "neg": ["n"]}\n{"query": "r", "pos": ["é"], "neg": []}\n'
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()).decode() == expected


def test_nothing_half_written(tmp_path):
    with pytest.raises(InputError, match="example 2: a lone surrogate"):
        write_examples([Example("q", ("p",)), Example("\ud800", ("p",))], tmp_path / "a.jsonl")
    with pytest.raises(InputError, match=r"a.csv: examples are written as .jsonl"):
        write_examples([], tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []


def test_account():
    converted = Converted([Example("q", ("p",), ("n", "m"), label="x"), Example("r", ("p",))], rows=5)
    converted.drop("repeated", 4, 2)
    converted.drop("repeated", 9)
    assert converted.summary()["dropped"] == {"repeated": 3} and converted.first == {"repeated": 4}
    assert converted.lines() == [
        "2 examples from 5 rows; on average 1 positives and 1 negatives; 1 labels",
        "  left out: 3 repeated",
    ]


def test_what_is_written_reads_back_equal(tmp_path):
    examples = [
        Example("q", ("a", "b"), ("c",), (1.0, 0.5), (0.25,), "Instruct: x\nQuery: ", "doc ", "t", "7"),
        Example("q2", ("猫",), query_prompt=" ", task="u"),
    ]
    for name in ("a.jsonl", "b.jsonl.gz"):
        assert write_examples(examples, tmp_path / name) == 2
        assert read_examples(tmp_path / name) == examples
