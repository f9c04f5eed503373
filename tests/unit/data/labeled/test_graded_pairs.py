"""STS pairs: nothing is guessed, nothing is dropped."""

import gzip
import json
import sys

import pytest

from bothways.data.labeled.graded_pairs import Pairs, read_pairs
from bothways.errors import InputError, SourceError

ROWS = [
    {"sentence1": 'A "man"', "sentence2": "A, man", "score": 5.0, "subset": "video"},
    {"sentence1": "", "sentence2": "猫がいる", "score": 0, "subset": "news"},
]
EXPECTED = Pairs(['A "man"', ""], ["A, man", "猫がいる"], [5.0, 0.0], ["video", "news"])
CONTENT = {
    "a.jsonl": "\n".join(json.dumps(row) for row in ROWS),
    "a.csv": 'subset,score,sentence1,sentence2\nvideo,5.0,"A ""man""","A, man"\nnews,0,,猫がいる\n',
    "a.tsv": 'subset\tscore\tsentence1\tsentence2\nvideo\t5.0\tA "man"\tA, man\nnews\t0\t\t猫がいる\n',
}


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_formats_agree(tmp_path, name, suffix):
    raw = CONTENT[name].encode()
    path = tmp_path / (name + suffix)
    path.write_bytes(gzip.compress(raw) if suffix else raw)
    pairs = read_pairs(path)
    assert pairs == EXPECTED and len(pairs) == 2


def test_other_columns(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "x", "b": "y", "gold": "1.5"}')
    assert read_pairs(path, first="a", second="b", score="gold") == Pairs(["x"], ["y"], [1.5], None)


def rows_with(**change):
    return [ROWS[0], {**ROWS[0], **change}]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (rows_with(score=float("nan")), "row 2: column 'score' holds nan, not a finite number"),
        (rows_with(score=float("inf")), "row 2: column 'score' holds inf"),
        (rows_with(score=None), "row 2: column 'score' holds nothing"),
        (rows_with(score=""), "row 2: column 'score' holds nothing"),
        (rows_with(score="high"), "row 2: column 'score' holds 'high'"),
        (rows_with(score=True), "row 2: column 'score' holds True"),
        (rows_with(score=[1]), r"row 2: column 'score' holds \[1\]"),
        (rows_with(sentence2=None), "row 2: column 'sentence2' holds a null, not a text"),
        (rows_with(sentence1=1), "row 2: column 'sentence1' holds a number"),
        (rows_with(sentence1="\ud800"), "row 2: column 'sentence1' holds a lone surrogate"),
        (
            [ROWS[0], {"sentence1": "a", "sentence2": "b"}],
            "row 2: no column 'score'; the columns are: sentence1, sentence2",
        ),
        ([ROWS[0], {"sentence1": "a", "sentence2": "b", "score": 1}], "row 2: some rows have a column 'subset'"),
        ([{"sentence1": "a", "sentence2": "b", "score": 1}, ROWS[0]], "row 2: some rows have a column 'subset'"),
        ([], "holds no pair"),
    ],
)
def test_doubtful_rows_are_errors(tmp_path, rows, message):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=message):
        read_pairs(path)


def test_sources(tmp_path, monkeypatch):
    class Hub:
        @staticmethod
        def load_dataset(*_, **__):
            return ROWS

    monkeypatch.setitem(sys.modules, "datasets", Hub)
    assert read_pairs("org/sts:en/test") == EXPECTED
    with pytest.raises(SourceError, match="no such file"):
        read_pairs(tmp_path / "none.jsonl")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match="one file or hub dataset, not from a folder"):
        read_pairs(tmp_path)
    with pytest.raises(InputError, match="row 1: no column for first, such as 'sentence1'; name it with first=, one of: text"):
        read_pairs(tmp_path / "a.txt")
