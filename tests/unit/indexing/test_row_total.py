"""The checksum of rows: it follows what is added and removed, and sees every change."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from bothways.indexing import row_total

ROWS = [(b"a", "one", 1, b"\x00\x01"), (b"b", "two", 2, b"\x02"), (b"c", "", 30, b"")]
QUERY = "SELECT id, text, row, vector FROM rows"


@pytest.fixture
def base() -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(":memory:")
    made.executescript("CREATE TABLE rows (id BLOB UNIQUE, text TEXT, row INTEGER, vector BLOB);" + row_total.TABLE)
    row_total.start(made)
    yield made
    made.close()


def insert(base: sqlite3.Connection, *rows: tuple) -> None:
    row_total.change(base, added=rows, removed=())
    base.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", rows)


def check(base: sqlite3.Connection, query: str = QUERY) -> None:
    base.commit()
    row_total.check(base, query)


def test_it_follows_rows_in_any_order(base: sqlite3.Connection) -> None:
    check(base)
    insert(base, *ROWS)
    check(base, QUERY + " ORDER BY id DESC")
    row_total.change(base, added=(), removed=ROWS[:1])
    base.execute("DELETE FROM rows WHERE id = ?", (b"a",))
    check(base)
    row_total.start(base)  # only a file without rows gets a new total
    check(base)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE rows SET text = 'onf' WHERE id = x'61'",
        "UPDATE rows SET vector = x'0003' WHERE id = x'61'",
        "UPDATE rows SET row = 3 WHERE row = 2",
        "UPDATE rows SET text = 'two' || char(2), vector = x'' WHERE row = 2",  # the same bytes in a row
        "DELETE FROM rows WHERE row = 30",
        "UPDATE total SET value = x'00000000000000000000000000000001'",
    ],
)
def test_a_change_is_seen(base: sqlite3.Connection, change: str) -> None:
    insert(base, *ROWS)
    check(base)
    assert base.execute(change).rowcount == 1
    with pytest.raises(ValueError, match="its rows have changed since they were written"):
        check(base)


def test_a_file_of_an_older_version_has_no_total(base: sqlite3.Connection) -> None:
    base.execute("DROP TABLE total")
    insert(base, *ROWS)
    check(base)
    base.execute(row_total.TABLE)
    row_total.start(base)  # its rows were not compared, so they get no total
    base.execute("UPDATE rows SET row = 5 WHERE row = 2")
    check(base)
