"""Gold pairs, labels of 0 and 1, and a fingerprint that only the content decides."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from bothways.errors import InputError, SourceError
from bothways.evaluation.inputs.named_data import data_fingerprint, gold_pairs, zero_or_one
from unit.evaluation.vectors import write

ROWS = [{"sentence1": "a", "sentence2": "b", "score": 1.5}, {"sentence1": "c", "sentence2": "d", "score": 0}]


def test_pairs_of_a_file_and_of_a_folders_split_are_equal(tmp_path: Path) -> None:
    pairs = gold_pairs(write(tmp_path / "dev.jsonl", ROWS))
    assert (pairs.first, pairs.second, pairs.gold.tolist(), pairs.subsets) == (("a", "c"), ("b", "d"), [1.5, 0.0], None)
    write(tmp_path / "test.jsonl", ROWS[::-1])
    (tmp_path / "zipped").mkdir()
    (tmp_path / "zipped" / "dev.jsonl.gz").write_bytes(gzip.compress((tmp_path / "dev.jsonl").read_bytes()))
    assert (
        gold_pairs(tmp_path, split="dev").fingerprint
        == pairs.fingerprint
        == gold_pairs(tmp_path / "zipped", split="dev").fingerprint
    )
    assert gold_pairs(tmp_path).fingerprint != pairs.fingerprint, "the order of rows is part of the content"


def test_columns_can_be_named(tmp_path: Path) -> None:
    rows = [{"left": "a", "right": "b", "stars": 1, "score": 9}, {"left": "c", "right": "d", "stars": 2, "score": 9}]
    pairs = gold_pairs(write(tmp_path / "a.jsonl", rows), first="right", second="left", score="stars")
    assert (pairs.first, pairs.second, pairs.gold.tolist()) == (("b", "d"), ("a", "c"), [1.0, 2.0])


def test_pairs_without_a_correlation_are_refused(tmp_path: Path) -> None:
    equal = write(tmp_path / "a.jsonl", [{**row, "score": 3} for row in ROWS])
    with pytest.raises(InputError, match=r"a\.jsonl: 2 pairs with 1 distinct gold score; a correlation needs at least two"):
        gold_pairs(equal)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match=r"empty\.jsonl is empty"):
        gold_pairs(tmp_path / "empty.jsonl")
    with pytest.raises(SourceError):
        gold_pairs(tmp_path / "none.jsonl")


def test_labels_of_yes_and_no() -> None:
    for one in (1, 1.0, True, "1", "1.0"):
        assert zero_or_one("row 1", {"label": one}, "label") == 1
    for zero in (0, 0.0, False, "0", "0.0"):
        assert zero_or_one("row 1", {"label": zero}, "label") == 0
    for wrong in (2, -1, "yes", None, 0.5, ""):
        with pytest.raises(InputError, match="row 1: column 'label' must be 0 or 1"):
            zero_or_one("row 1", {"label": wrong}, "label")


def test_a_fingerprint_tells_boundaries_and_order_apart() -> None:
    values = [["a", "b"], ["ab"], ["b", "a"], ["a"], [["a"], "b"], ["a", ["b"]]]
    assert len({data_fingerprint(value) for value in values}) == len(values)
    assert data_fingerprint([{"a": 1, "b": 2}]) == data_fingerprint([{"b": 2, "a": 1}])
