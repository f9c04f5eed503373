"""The texts of evaluation sets of any task."""

import pytest

from bothways.data.evaluation_texts import read_evaluation_texts
from bothways.errors import InputError


def test_evaluation_texts_of_any_task(tmp_path):
    (tmp_path / "sts.jsonl").write_text('{"sentence1": "a", "sentence2": "b", "score": 1}\n')
    (tmp_path / "class.csv").write_text("text,label\nc,1\n")
    (tmp_path / "odd.jsonl").write_text('{"x": "a"}\n')
    assert read_evaluation_texts([tmp_path / "sts.jsonl", tmp_path / "class.csv"]) == ["a", "b", "c"]
    with pytest.raises(InputError, match=r"odd.jsonl, row 1: no column that is known to hold text; .* x"):
        read_evaluation_texts([tmp_path / "odd.jsonl"])
