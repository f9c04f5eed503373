"""Labeled text is read from rows of a file."""

import json

import pytest

from bothways.data.labeled.labeled_text import LabeledText, read_labeled
from bothways.errors import InputError


def test_reading(tmp_path):
    rows = [{"text": "a", "label": 1, "label_name": "one"}, {"text": "b", "label": 2, "label_name": "two"}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_labeled(path) == [LabeledText("a", ("one",), 1), LabeledText("b", ("two",), 2)]
    assert read_labeled(path, label="label")[0].labels == ("1",)
    table = tmp_path / "b.csv"
    table.write_text("sentence,category\na,cs.CL cs.LG\nb,math.CA\n")
    assert read_labeled(table, separator=" ")[0].labels == ("cs.CL", "cs.LG")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "b", "label": float("nan")}, "row 2: the label is nan"),
        ({"text": "b", "label": None}, "row 2: the label is nothing"),
        ({"text": "b", "label": ""}, "row 2: the label is nothing"),
        ({"text": "b", "label": 1.5}, "row 2: the label is 1.5"),
        ({"text": "b", "label": 0.5}, "row 2: the label is 0.5"),
        ({"text": "b", "label": []}, "row 2: column 'label' holds no label"),
        ({"text": 1, "label": "x"}, "row 2: column 'text' holds a number"),
        ({"label": "x"}, "row 2: no column 'text'"),
        ({"text": "b"}, "row 2: no column 'label'"),
    ],
)
def test_wrong_rows(tmp_path, row, message):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "a", "label": "x"}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(InputError, match=f"a.jsonl, {message}"):
        read_labeled(path)
