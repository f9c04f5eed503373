"""A checksum of the rows in a SQLite file: the sum of the digests of all rows, modulo 2^128.

SQLite has no checksums, so a bit that flips in a vector or text gives another one. A sum can be
changed in the transaction that adds or removes rows, without reading the others, and it does not
depend on their order.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

TABLE = "CREATE TABLE IF NOT EXISTS total (only INTEGER PRIMARY KEY CHECK (only = 1), value BLOB NOT NULL);"
_BYTES = 16
_MODULUS = 1 << (8 * _BYTES)


def start(base: sqlite3.Connection) -> None:
    """Write a total of 0 if there are no rows yet. Older files with rows have none."""
    if base.execute("SELECT 1 FROM rows LIMIT 1").fetchone() is None:
        _write(base, 0)


def change(
    base: sqlite3.Connection, *, added: Iterable[Sequence[Any]], removed: Iterable[Sequence[Any]]
) -> None:
    """Count rows in and out, in the transaction that adds and removes them.

    Args:
        base: the database.
        added: rows: all their values, in the order of the columns.
        removed: the same of rows that go.
    """
    total = _read(base)
    if total is not None:
        _write(base, (total + _sum(added) - _sum(removed)) % _MODULUS)


def named(
    base: sqlite3.Connection, query: str, column: str, names: Iterable[bytes]
) -> Iterator[Sequence[Any]]:
    """Yield the rows that `query` selects and that have one of the names in a column."""
    for name in dict.fromkeys(names):
        yield from base.execute(f'{query} WHERE "{column}" = ?', (name,))


def check(base: sqlite3.Connection, query: str) -> None:
    """Compare all rows with the total, in a transaction: what others add meanwhile is not seen.

    Args:
        base: the database.
        query: selects the rows, with their values in the order that `change` got.

    Raises:
        ValueError: rows or the file's structure have changed.
    """
    base.execute("BEGIN")
    try:
        (said,) = base.execute("PRAGMA integrity_check(1)").fetchone()
        if said != "ok":
            raise ValueError(f"SQLite finds: {said}")
        total = _read(base)
        if total is not None and _sum(base.execute(query)) % _MODULUS != total:
            raise ValueError("its rows have changed since they were written")
    finally:
        base.commit()  # a rollback would end what other threads read


def _sum(rows: Iterable[Sequence[Any]]) -> int:
    return sum(map(_digest, rows))


def _digest(row: Sequence[Any]) -> int:
    """Compute the digest of a row. Lengths come first, so that no two rows share their bytes."""
    parts = [
        value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        for value in row
    ]
    lengths = repr([len(part) for part in parts]).encode()
    made = hashlib.blake2b(b"".join([lengths, *parts]), digest_size=_BYTES)
    return int.from_bytes(made.digest(), "big")


def _read(base: sqlite3.Connection) -> int | None:
    there = base.execute("SELECT 1 FROM sqlite_master WHERE name = 'total'").fetchone()
    found = base.execute("SELECT value FROM total").fetchone() if there else None
    return None if found is None else int.from_bytes(found[0], "big")


def _write(base: sqlite3.Connection, total: int) -> None:
    value = total.to_bytes(_BYTES, "big")
    base.execute("INSERT OR REPLACE INTO total VALUES (1, ?)", (value,))
