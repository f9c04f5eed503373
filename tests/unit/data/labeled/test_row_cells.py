"""Values of one row as texts, numbers and lists, as tables and JSON write them."""

import pytest

from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.text.readers import read_texts
from bothways.errors import InputError


def test_missing_cells_are_no_texts(tmp_path):
    """pandas writes nan, and MySQL and Hive write a backslash and N; a list may hold null."""
    (tmp_path / "a.csv").write_text("query,pos,neg\nq,p,nan\nr,p2,None\n\\N,p3,n\n")
    (tmp_path / "b.jsonl").write_text('{"query": "q", "pos": ["p", null], "neg": NaN}\n')
    assert [(e.query, e.positives, e.negatives) for e in read_examples(tmp_path / "a.csv")] == [
        ("q", ("p",), ()),
        ("r", ("p2",), ()),
    ]
    assert read_examples(tmp_path / "b.jsonl")[0].positives == ("p",)


def test_a_column_of_lists_is_no_column_of_texts(tmp_path):
    """Its first cell tells; a later text in brackets is a text."""
    (tmp_path / "lists.csv").write_text("text\n\"['a', 'b']\"\n")
    (tmp_path / "texts.csv").write_text("text\nplain\n\"['a', 'b']\"\n[1] a footnote\n")
    with pytest.raises(InputError, match="row 2: column 'text' holds a list"):
        read_texts(tmp_path / "lists.csv")
    assert read_texts(tmp_path / "texts.csv") == ["plain", "['a', 'b']", "[1] a footnote"]
