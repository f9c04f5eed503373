"""A table of PostgreSQL with the pgvector extension, through psycopg.

    postgresql://me@localhost/mine/notes     the table notes of the database mine

The table NAME holds the rows, and NAME_settings one row with the settings. Batches are
transactions. A writer holds an advisory lock of the server.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from bothways.errors import InputError, MissingExtra, SourceError
from bothways.foreign import foreign
from bothways.indexing.filters import Condition, placed, write_sql
from bothways.indexing.index_rows import COLUMNS, Entry
from bothways.indexing.settings import IndexSettings, parsed_settings, settings_text
from bothways.indexing.store import Near, Store, Stored, shown
from bothways.similarity_names import Similarity

_TABLE = re.compile(r"[a-z_][a-z0-9_]{0,40}")
_FORM = "must be like postgresql://me@localhost/database/table, with a table of small letters, digits and _"
_NAMED = ", ".join(f'"{name}"' for name in COLUMNS)
_KINDS = (
    "bytea PRIMARY KEY",
    "bytea",
    "bytea",
    "text",
    "text",
    "bigint",
    "bigint",
    "bigint",
    "text",
)
# pgvector's operators, which order by the smallest, and their names for HNSW. <+> needs 0.7.
_OPERATORS = {
    "cosine": ("<#>", "vector_ip_ops"),  # of unit vectors
    "dot": ("<#>", "vector_ip_ops"),
    "euclidean": ("<->", "vector_l2_ops"),
    "manhattan": ("<+>", "vector_l1_ops"),
}
_MANHATTAN = (0, 7)  # the version of pgvector since which it has this distance
_PAGE = 2000  # rows of an answer
_MOST_INDEXED = 2000  # numbers of a vector that pgvector's HNSW takes


def has_index(url: str) -> bool:
    """Tell if there is an index at a URL.

    Raises:
        InputError: the URL has another form.
        SourceError: the server cannot be reached.
    """
    base, table = _connect(url)
    with base, _asking(url):
        found = base.execute("SELECT to_regclass(%s)", (f"{table}_settings",)).fetchone()
        return bool(found and found[0])


class PostgresStore(Store):
    """The two tables of a URL.

    Args:
        url: see the top of this file.
        settings: if given, write them and make the tables if there are none.

    Raises:
        MissingExtra: psycopg or pgvector is not installed.
        InputError: there is no index, another process changes it, or the URL has another form.
        SourceError: the server cannot be reached, or lacks the extension.
    """

    def __init__(self, url: str, settings: IndexSettings | None = None) -> None:
        self.place = shown(url)
        if settings is None and not has_index(url):
            raise InputError(
                f"{self.place}: there is no index; make one with: bothways index SOURCE --model MODEL --to {self.place}"
            )
        self._base, self._table = _connect(url)
        self._lock = threading.RLock()
        if settings is not None:
            self._hold()
            with self._asking(), self._base.transaction():
                self._make(settings)
        from pgvector.psycopg import register_vector

        with self._asking():
            register_vector(self._base)
        if settings is not None:
            self.write_settings(settings)

    def settings(self) -> IndexSettings:
        """Read the settings."""
        with self._asking():
            values = json.loads(self._all(f"SELECT value FROM {self._table}_settings")[0][0])
        return parsed_settings(values, self.place)

    def write_settings(self, settings: IndexSettings) -> None:
        """Replace the settings."""
        query = f"INSERT INTO {self._table}_settings VALUES (1, %s) ON CONFLICT (only_row) DO UPDATE SET value = EXCLUDED.value"
        with self._asking(), self._lock, self._base.transaction():
            self._base.execute(query, (settings_text(settings),))

    def version(self) -> object:
        """Return the number of the last change."""
        return self.settings().generation

    def documents(self) -> Iterator[tuple[bytes, bytes, str]]:
        """Yield (document, digest, source) of each document."""
        query = f'SELECT DISTINCT "document", "digest", "source" FROM {self._table}'
        yield from self._each(query)

    def known(self, digests: Sequence[bytes]) -> dict[bytes, Stored]:
        """Find passages and vectors of texts that the store holds at any place."""
        found: dict[bytes, dict[tuple[int, int], np.ndarray]] = {}
        query = (
            f'SELECT "digest", "start", "end", vector FROM {self._table} WHERE "digest" = ANY(%s)'
        )
        for digest, start, end, vector in self._all(query, (list(digests),)):
            found.setdefault(digest, {})[start, end] = _numbers(vector)
        return {
            digest: Stored(spans := sorted(rows), np.stack([rows[span] for span in spans]))
            for digest, rows in found.items()
        }

    def add(self, entries: Sequence[Entry], vectors: np.ndarray) -> None:
        """Add rows with vectors (n, D) float32, all of them or none."""
        marks = ", ".join(["%s"] * (len(COLUMNS) + 1))
        query = (
            f"INSERT INTO {self._table} ({_NAMED}, vector) VALUES ({marks}) ON CONFLICT DO NOTHING"
        )
        rows = [(*entry, vector) for entry, vector in zip(entries, vectors.astype(np.float32))]
        with self._asking(), self._lock, self._base.transaction(), self._base.cursor() as cursor:
            cursor.executemany(query, rows)

    def remove(self, documents: Sequence[bytes]) -> None:
        """Remove all rows of documents."""
        query = f'DELETE FROM {self._table} WHERE "document" = ANY(%s)'
        with self._asking(), self._lock, self._base.transaction():
            self._base.execute(query, (list(documents),))

    def finish(self, *, approximate: bool) -> None:
        """Collect statistics. If `approximate`, make an HNSW index."""
        with self._asking(), self._lock, self._base.transaction():
            if approximate:
                width = self.settings().dimension
                if width > _MOST_INDEXED:
                    raise InputError(
                        f"--approximate: pgvector takes vectors of at most {_MOST_INDEXED} numbers, and these have {width}; "
                        "leave it out, or give --truncate-dim"
                    )
                _, operators = _OPERATORS[self.settings().similarity]
                self._base.execute(
                    f"CREATE INDEX IF NOT EXISTS {self._table}_hnsw ON {self._table} USING hnsw (vector {operators})"
                )
            self._base.execute(f"ANALYZE {self._table}")

    def nearest(
        self,
        query: np.ndarray,
        count: int,
        where: Condition | None,
        *,
        exact: bool,
        similarity: Similarity,
    ) -> Near:
        """Find the most similar rows to a query (D,), best first."""
        values: list[Any] = []
        condition = "" if where is None else f"WHERE {write_sql(where, placed(values, '%s'))}"
        sign, _ = _OPERATORS[similarity]
        ask = f"SELECT {_NAMED}, vector FROM {self._table} {condition} ORDER BY vector {sign} %s LIMIT %s"
        with self._asking(), self._lock, self._base.transaction():
            if exact:
                self._base.execute("SET LOCAL enable_indexscan = off")
            else:
                searched = min(1000, max(40, 2 * count))
                self._base.execute(f"SET LOCAL hnsw.ef_search = {searched}")
            rows = self._base.execute(ask, (*values, query.astype(np.float32), count)).fetchall()
        vectors = [_numbers(row[-1]) for row in rows]
        return Near(
            [Entry(*row[:-1]) for row in rows],
            np.stack(vectors) if vectors else np.zeros((0, len(query)), np.float32),
        )

    def texts(self) -> Iterator[Entry]:
        """Yield all rows."""
        yield from map(Entry._make, self._each(f"SELECT {_NAMED} FROM {self._table}"))

    def entries(self, ids: Sequence[bytes]) -> dict[bytes, Entry]:
        """Read rows by their names."""
        rows = self._all(f'SELECT {_NAMED} FROM {self._table} WHERE "id" = ANY(%s)', (list(ids),))
        return {row[0]: Entry(*row) for row in rows}

    def matching(self, where: Condition) -> set[bytes]:
        """Find the names of all rows that satisfy a condition."""
        values: list[Any] = []
        condition = write_sql(where, placed(values, "%s"))
        return {
            row[0] for row in self._all(f'SELECT "id" FROM {self._table} WHERE {condition}', values)
        }

    def count(self) -> int:
        """Count the rows."""
        return int(self._all(f"SELECT count(*) FROM {self._table}")[0][0])

    def close(self) -> None:
        """Close the connection, which frees its lock."""
        self._base.close()

    def _hold(self) -> None:
        """Take the writer's lock.

        Raises:
            InputError: another process has it.
        """
        query = "SELECT pg_try_advisory_lock(hashtext(%s))"
        if not self._all(query, (f"bothways {self._table}",))[0][0]:
            self._base.close()
            raise InputError(f"{self.place}: another process is changing this index; wait for it")

    def _make(self, settings: IndexSettings) -> None:
        table, width = self._table, settings.dimension
        self._base.execute("CREATE EXTENSION IF NOT EXISTS vector")
        if settings.similarity == "manhattan":
            query = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
            version = str(self._base.execute(query).fetchone()[0])
            if tuple(map(int, version.split(".")[:2])) < _MANHATTAN:
                raise InputError(
                    f"{self.place}: pgvector {version} of this server does not know the manhattan similarity, and 0.7 does; update "
                    "it, use another store, or give --similarity euclidean"
                )
        columns = ", ".join(
            f'"{name}" {kind} NOT NULL'.replace("PRIMARY KEY NOT NULL", "PRIMARY KEY")
            for name, kind in zip(COLUMNS, _KINDS)
        )
        self._base.execute(
            f"CREATE TABLE IF NOT EXISTS {table} ({columns}, vector vector({width}) NOT NULL)"
        )
        for name in ("document", "digest"):
            self._base.execute(f'CREATE INDEX IF NOT EXISTS {table}_{name} ON {table} ("{name}")')
        self._base.execute(
            f"CREATE TABLE IF NOT EXISTS {table}_settings (only_row int PRIMARY KEY CHECK (only_row = 1), value text NOT NULL)"
        )

    def _all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._asking(), self._lock:
            return list(self._base.execute(query, tuple(values)).fetchall())

    def _each(self, query: str) -> Iterator[Any]:
        """Yield rows without holding all of them, from a cursor on the server."""
        with (
            self._asking(),
            self._lock,
            self._base.transaction(),
            self._base.cursor(name="bothways") as cursor,
        ):
            cursor.itersize = _PAGE
            yield from cursor.execute(query)

    def _asking(self) -> AbstractContextManager[None]:
        return _asking(self.place)


def _connect(url: str) -> tuple[Any, str]:
    """Connect to the database of a URL; return the connection and the table."""
    try:
        import pgvector.psycopg  # noqa: F401
        import psycopg
    except ImportError:
        raise MissingExtra("psycopg and pgvector", "pgvector", "an index in PostgreSQL") from None
    parts = urlsplit(url)
    database, _, table = parts.path.strip("/").rpartition("/")
    if not database or "/" in database or not _TABLE.fullmatch(table):
        raise InputError(f"{shown(url)}: {_FORM}")
    with _asking(url):
        made = psycopg.connect(
            urlunsplit(parts._replace(path=f"/{database}")), autocommit=True, connect_timeout=10
        )
    return made, table


def _numbers(vector: object) -> np.ndarray:
    """Read a vector of pgvector, which has had different types, as (D,) float32."""
    return np.asarray(vector.to_numpy() if hasattr(vector, "to_numpy") else vector, np.float32)


def _asking(url: str) -> AbstractContextManager[None]:
    remedy = "see that the server runs, that the address is right, and that pgvector is installed"
    return foreign(shown(url), "PostgreSQL did not answer as expected", remedy, kind=SourceError)
