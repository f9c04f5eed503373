"""Conditions: those that are read, those that are refused, and nothing that slips through."""

from __future__ import annotations

import sqlite3

import pytest

from bothways.errors import InputError
from bothways.indexing.filters import quoted, read_where, write_sql

ROWS = [("a.txt", 1, 0, 5, "it's"), ("b.txt", 2, 0, 5, "50%"), ("dir/b.txt", 30, 5, 9, "x; y -- z")]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("file = 'a.txt'", [1]),
        ("FILE='a.txt' or ROW=30", [1, 30]),
        ("row = 1 OR row = 2 AND file = 'a.txt'", [1]),  # AND binds closer
        ("(row = 1 OR row = 2) AND NOT file = 'a.txt'", [2]),
        ("not not row = 1", [1]),
        ("text = 'it''s'", [1]),
        ("text = 'x; y -- z'", [30]),
        ("row NOT IN (1,2)", [30]),
        ('"end" <> 5', [30]),
        ("row > -5 AND row <= 2", [1, 2]),
        ("file NOT LIKE '%b.txt'", [1]),
        ("NOT (row < 2 OR row IN (30) AND file LIKE 'd%')", [2]),
        ("NOT (row <= 1 OR NOT (row > 1 AND file = 'b.txt'))", [2]),
        ("NOT row NOT IN (1) OR NOT file NOT LIKE 'd%'", [1, 30]),
        ("NOT (row != 1 AND row <> 2)", [1, 2]),
        ("NOT row >= 2 OR NOT (row > -1)", [1]),
        (" OR ".join(["row = 2"] * 500), [2]),
    ],
)
@pytest.mark.parametrize("literals", [True, False])
def test_conditions_mean_the_sql_that_they_look_like(where, expected, literals) -> None:
    base = sqlite3.connect(":memory:")
    base.execute('CREATE TABLE rows ("file", "row", "start", "end", "text")')
    base.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", ROWS)
    values: list[object] = []
    sql = write_sql(read_where(where), quoted if literals else lambda value: values.append(value) or "?")
    assert [row[0] for row in base.execute(f'SELECT "row" FROM rows WHERE {sql} ORDER BY "row"', values)] == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "expected one of the columns file, text, row, start, end, got the end"),
        ("vector = 1", "expected one of the columns"),
        ('file = "a.txt"', "expected a text in single quotes for file"),
        ("file = 3", "expected a text in single quotes for file"),
        ("row = '3'", "expected a whole number for row"),
        ("row = 3.5", "cannot be read at '3.5'"),
        ("row = 3; DROP TABLE rows", "cannot be read at '; DROP TABLE rows'"),
        ("row = 3 -- x", "cannot be read at '-- x'"),
        ("row = (SELECT 1)", "expected a whole number"),
        ("row LIKE '3'", "expected one of = !="),
        ("row IN ()", "expected a whole number"),
        ("row IN (1", "expected ',' or ')'"),
        ("(row = 1", "expected ')'"),
        ("row = 1 row = 2", "expected AND, OR or the end"),
        ("text = 'open", 'cannot be read at "\'open"'),
        ("text LIKE 'a\\%'", "no backslash"),
        ("row = " + "9" * 30, "too large"),
        ("(" * 21 + "row = 1" + ")" * 21, "more than 20 levels"),
        ("text = '\ud800'", "half of a surrogate pair"),
        (" OR ".join(["row = 1"] * 501), "more than 500 comparisons"),
        ("NOT " * 21 + "row = 1", "more than 20 levels"),
        ("row = 1 OR " * 2000 + "row = 1", "more than 10000 characters"),
    ],
)
def test_other_words_are_refused_in_one_line(where, message) -> None:
    with pytest.raises(InputError) as raised:
        read_where(where)
    assert str(raised.value).startswith("where: ") and message in str(raised.value)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 200
