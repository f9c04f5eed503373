"""Lists of texts as DuckDB 2.0 writes them into a .csv: the files here are its output, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from bothways.data.formats.duckdb_lists import spelled
from bothways.data.labeled.labeled_reader import read_examples
from bothways.errors import InputError

# copy (select query, pos, neg from t) to 't.csv'
WRITTEN = """query,pos,neg
"how to, ""bake""
bread","[Mix
flour, 'a ""q"" b']","[Cars need oil, 'It\\'s raining']"
capital; of\tNorway,"['Oslo\\'s', 'Norway\\'s capital']",[]
"He said ""hi"", ok",[x | y],"['no, never']"
"""
POSITIVES = [["Mix\nflour", 'a "q" b'], ["Oslo's", "Norway's capital"], ["x | y"]]
NEGATIVES = [["Cars need oil", "It's raining"], [], ["no, never"]]


def test_what_duckdb_wrote(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(WRITTEN)
    found = read_examples(tmp_path / "t.csv")
    assert [list(example.positives) for example in found] == POSITIVES
    assert [list(example.negatives) for example in found] == NEGATIVES


@pytest.mark.parametrize(
    "cell, value",
    [
        ("[a b, 'c, d', NULL]", ["a b", "c, d", None]),
        ("['NULL', '']", ["NULL", ""]),
        (r"['back\\slash', 'it\'s']", ["back\\slash", "it's"]),
        ("[3, 4]", ["3", "4"]),
        ("[]", []),
        ("[Deleted]", ["Deleted"]),
        ("[1] Smith", None),
        ("[a, b", None),
        ("[a, [b]]", None),
        ("[{'text': a}]", None),
        ("[,]", None),
        ("plain", None),
    ],
)
def test_spellings(cell: str, value: object) -> None:
    assert spelled(cell) == value


def test_a_column_of_texts_may_hold_brackets(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("query,pos\nq,[Deleted]\nr,plain\ns,[1] a note\n")
    assert [list(each.positives) for each in read_examples(tmp_path / "t.csv")] == [["[Deleted]"], ["plain"], ["[1] a note"]]


def test_a_later_cell_that_is_no_list(tmp_path: Path) -> None:
    rows = "".join(f'q{i},"[a{i}, b{i}]"\n' for i in range(120))
    (tmp_path / "t.csv").write_text(f"query,pos\n{rows}last,plain\n")
    with pytest.raises(InputError, match="row 122: column 'pos' holds lists as DuckDB writes them, and 'plain' is none"):
        read_examples(tmp_path / "t.csv")


def test_structures_that_are_not_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("query,pos\nq,\"[{'text': It rains, 'score': 0.5}]\"\n")
    with pytest.raises(InputError, match=r"row 2: column 'pos' holds .* not a whole list"):
        read_examples(tmp_path / "t.csv")
