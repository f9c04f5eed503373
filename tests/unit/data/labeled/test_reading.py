"""The account of a file: counts by reason with their first row, and the columns that were read."""

from __future__ import annotations

from bothways.data.labeled.reading import WATCHED, Reading, Tally


def test_a_tally_counts_by_reason_and_keeps_the_first_row() -> None:
    tally = Tally()
    for row in (7, 3):
        tally.add("without a query", row)
    tally.add("empty texts", 9, 4)
    assert str(tally) == "2 without a query (first: row 7), 4 empty texts (first: row 9)"
    assert str(Tally()) == ""


def test_columns_that_are_looked_at_are_noted_in_the_first_rows_alone() -> None:
    reading = Reading("file", "task")
    row = reading.opened({"query": "q", "pos": ["p"], "extra": 1})
    assert row["query"] == "q" and row.get("pos") == ["p"] and row.get("none") is None
    assert "extra" in row and list(row) == ["query", "pos", "extra"] and len(row) == 3
    assert reading.read == {"query", "pos", "none"}, "asking if a column is there is not reading it"
    for _ in range(WATCHED - 1):
        reading.opened({})
    later = reading.opened({"late": 1})
    assert later["late"] == 1
    assert "late" not in reading.read
    assert reading.rows == WATCHED + 1
