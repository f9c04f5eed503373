"""A FAISS file (Douze et al. 2024, arXiv 2401.08281), which other programs read too.

    notes.faiss         vectors under numbers (IndexIDMap2 over a flat or an HNSW index), or their
                        signs (IndexBinaryIDMap2 over a flat index)
    notes.faiss.rows    SQLite: rows with the same numbers, vectors, settings
    notes.faiss.bm25/   words, made by the first hybrid search

Rows are added to SQLite in transactions. The FAISS file is written at the end, as a whole, and its
SHA-256 is kept with the rows and compared when the file is opened. All vectors are in memory during
a search.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from bothways.atomic import atomic_file
from bothways.digest import file_sha256
from bothways.errors import InputError, MissingExtra, OutputError
from bothways.foreign import foreign
from bothways.indexing import row_total
from bothways.indexing.faiss_rows import BROKEN, is_begun, rows_file
from bothways.indexing.filters import Condition, Value, placed, write_sql
from bothways.indexing.index_rows import COLUMNS, Entry
from bothways.indexing.settings import IndexSettings, parsed_settings, settings_text
from bothways.indexing.store import Near, RemovedIndex, Store, Stored
from bothways.search.dense import faiss_metric
from bothways.similarity import scores
from bothways.similarity_names import Similarity

_TABLES = """
CREATE TABLE IF NOT EXISTS settings (only INTEGER PRIMARY KEY CHECK (only = 1), value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY AUTOINCREMENT, "id" BLOB UNIQUE, "document" BLOB, "digest" BLOB,
    "source" TEXT, "file" TEXT, "row" INTEGER, "start" INTEGER, "end" INTEGER, "text" TEXT, vector BLOB);
CREATE TABLE IF NOT EXISTS file (only INTEGER PRIMARY KEY CHECK (only = 1), sha256 TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS documents ON rows ("document");
CREATE INDEX IF NOT EXISTS digests ON rows ("digest");
"""
_NAMED = ", ".join(f'"{name}"' for name in COLUMNS)
_WHOLE = f"SELECT {_NAMED}, vector FROM rows"
_SOME = 500  # values of one query
_BLOCK = 8192  # vectors read together


class FaissStore(Store):
    """The two files of a path.

    Args:
        path: a path that ends in .faiss.
        settings: if given, write them and make the files of rows if there is none.

    Raises:
        MissingExtra: faiss is not installed.
        InputError: there is no index, or one that is damaged or not complete.
        OutputError: the files cannot be written.
    """

    keeps_signs = True

    def __init__(self, path: Path, settings: IndexSettings | None = None) -> None:
        try:
            import faiss
        except ImportError:
            raise MissingExtra("faiss-cpu", "mine", "an index in a .faiss file") from None
        self.place, self._path = str(path), path
        self.words = path.with_name(f"{path.name}.bm25")
        self._faiss: Any = faiss
        self._index: Any = None
        self._lock = threading.RLock()
        rows = rows_file(path)
        if settings is None and not is_begun(path):
            raise InputError(
                f"{path}: there is no index with its rows in {rows.name}; make one with: "
                f"bothways index SOURCE --model MODEL --to {path}"
            )
        if settings is not None and path.exists() and not rows.exists():
            raise InputError(
                f"{path}: exists without rows in {rows.name}, so texts cannot be added; choose another place"
            )
        with self._writing() if settings is not None else self._reading():
            self._base = self._connected()
            if settings is not None:
                self._compare_rows()
                self._base.execute("PRAGMA journal_mode = WAL")  # readers go on while rows come
                self._base.executescript(_TABLES + row_total.TABLE)
                with self._base:
                    row_total.start(self._base)
                self.write_settings(settings)

    def settings(self) -> IndexSettings:
        """Read the settings."""
        with self._reading():
            found = self._all("SELECT value FROM settings")
            if not found:
                raise ValueError("it has no settings")
            values = json.loads(found[0][0])
        return parsed_settings(values, self.place)

    def write_settings(self, settings: IndexSettings) -> None:
        """Replace the settings."""
        with self._writing(), self._base:
            self._base.execute(
                "INSERT OR REPLACE INTO settings VALUES (1, ?)", (settings_text(settings),)
            )

    def version(self) -> object:
        """Return the time at which the FAISS file was written.

        If the index was removed and made again, its new rows are opened.

        Raises:
            RemovedIndex: the file of rows is not there any more.
        """
        found = self._path.stat().st_mtime_ns if self._path.exists() else None
        if not rows_file(self._path).is_file():
            raise RemovedIndex(self.place)
        with self._reading(), self._lock:
            if rows_file(self._path).stat().st_ino != self._inode:
                self._base.close()
                self._base, self._index = self._connected(), None
        if self._index is not None and found != self._read_at:
            self._index = None
        return found

    def documents(self) -> Iterator[tuple[bytes, bytes, str]]:
        """Yield (document, digest, source) of each document."""
        yield from self._each('SELECT DISTINCT "document", "digest", "source" FROM rows')

    def known(self, digests: Sequence[bytes]) -> dict[bytes, Stored]:
        """Find passages and vectors of texts that the store holds at any place."""
        found: dict[bytes, dict[tuple[int, int], np.ndarray]] = {}
        for part in _parts(digests):
            marks = ", ".join("?" * len(part))
            query = f'SELECT "digest", "start", "end", vector FROM rows WHERE "digest" IN ({marks})'
            for digest, start, end, vector in self._all(query, part):
                found.setdefault(digest, {})[start, end] = np.frombuffer(vector, np.float32)
        return {
            digest: Stored(spans := sorted(rows), np.stack([rows[span] for span in spans]))
            for digest, rows in found.items()
        }

    def add(self, entries: Sequence[Entry], vectors: np.ndarray) -> None:
        """Add rows with vectors (n, D) float32, all of them or none."""
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        unique = {entry.id: (*entry, row.tobytes()) for entry, row in zip(entries, vectors)}
        marks = ", ".join("?" * (len(COLUMNS) + 1))
        with self._writing(), self._lock, self._base:
            gone = row_total.named(self._base, _WHOLE, "id", unique)
            row_total.change(self._base, added=unique.values(), removed=gone)
            query = f"INSERT OR REPLACE INTO rows ({_NAMED}, vector) VALUES ({marks})"
            self._base.executemany(query, unique.values())

    def remove(self, documents: Sequence[bytes]) -> None:
        """Remove all rows of documents."""
        with self._writing(), self._lock, self._base:
            gone = row_total.named(self._base, _WHOLE, "document", documents)
            row_total.change(self._base, added=(), removed=gone)
            self._base.executemany(
                'DELETE FROM rows WHERE "document" = ?', ((name,) for name in documents)
            )

    def finish(self, *, approximate: bool) -> None:
        """Write the FAISS file."""
        faiss, settings = self._faiss, self.settings()
        width, metric = settings.dimension, faiss_metric(settings.similarity)
        binary = settings.precision == "binary"
        if binary:
            index = faiss.IndexBinaryIDMap2(faiss.IndexBinaryFlat(-(-width // 8) * 8))
        elif approximate:
            index = faiss.IndexIDMap2(faiss.IndexHNSWFlat(width, 32, metric))
        else:
            index = faiss.IndexIDMap2(faiss.IndexFlat(width, metric))
        for numbers, vectors in self._blocks():
            index.add_with_ids(np.packbits(vectors > 0, axis=1) if binary else vectors, numbers)
        with atomic_file(self._path) as part, self._writing():
            (faiss.write_index_binary if binary else faiss.write_index)(index, str(part))
            digest = file_sha256(part)
        self._index = None
        with self._writing(), self._lock:
            with self._base:
                self._base.execute("INSERT OR REPLACE INTO file VALUES (1, ?)", (digest,))
            self._base.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def is_whole(self) -> bool:
        """Tell if the FAISS file is the one that `finish` wrote."""
        written = self._digest()
        return self._path.is_file() and written in (None, file_sha256(self._path))

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
        faiss, index = self._faiss, self._opened()
        numbers = None if where is None else self._numbers(where)
        hnsw = isinstance(faiss.downcast_index(index.index), faiss.IndexHNSW)
        if exact and hnsw:
            found = self._every(query, count, numbers, similarity)
        else:
            options: dict[str, Any] = {}
            if numbers is not None:
                options["sel"] = faiss.IDSelectorBatch(numbers)
            kind = faiss.SearchParametersHNSW if hnsw else faiss.SearchParameters
            if hnsw:
                options["efSearch"] = max(64, 2 * count)
            _, places = index.search(query[None].astype(np.float32), count, params=kind(**options))
            found = places[0][places[0] >= 0]
        return self._near(found, len(query))

    def nearest_by_signs(self, query: np.ndarray, count: int, where: Condition | None) -> Near:
        """Find the rows that have the most signs in common with a query (D,), best first."""
        faiss, index = self._faiss, self._opened()
        options: dict[str, Any] = {}
        if where is not None:
            options["sel"] = faiss.IDSelectorBatch(self._numbers(where))
        bits = np.packbits(query[None] > 0, axis=1)
        _, places = index.search(bits, count, params=faiss.SearchParameters(**options))
        return self._near(places[0][places[0] >= 0], len(query))

    def _near(self, found: np.ndarray, width: int) -> Near:
        """Read the rows with these numbers (n,), in their order, and their vectors (n, `width`)."""
        rows = {}
        for part in _parts(found.tolist()):
            marks = ", ".join("?" * len(part))
            query_text = f"SELECT number, vector, {_NAMED} FROM rows WHERE number IN ({marks})"
            rows.update({row[0]: row[1:] for row in self._all(query_text, part)})
        kept = [rows[number] for number in found.tolist() if number in rows]
        vectors = [np.frombuffer(row[0], np.float32) for row in kept]
        return Near(
            [Entry(*row[1:]) for row in kept],
            np.stack(vectors) if vectors else np.zeros((0, width), np.float32),
        )

    def texts(self) -> Iterator[Entry]:
        """Yield all rows."""
        yield from map(Entry._make, self._each(f"SELECT {_NAMED} FROM rows"))

    def entries(self, ids: Sequence[bytes]) -> dict[bytes, Entry]:
        """Read rows by their names."""
        found = {}
        for part in _parts(ids):
            marks = ", ".join("?" * len(part))
            for row in self._all(f'SELECT {_NAMED} FROM rows WHERE "id" IN ({marks})', part):
                found[row[0]] = Entry(*row)
        return found

    def matching(self, where: Condition) -> set[bytes]:
        """Find the names of all rows that satisfy a condition."""
        values: list[Value] = []
        condition = write_sql(where, placed(values))
        return {row[0] for row in self._all(f'SELECT "id" FROM rows WHERE {condition}', values)}

    def count(self) -> int:
        """Count the rows."""
        return int(self._all("SELECT count(*) FROM rows")[0][0])

    def close(self) -> None:
        """Close the file of rows."""
        self._index = None
        self._base.close()

    def _connected(self) -> sqlite3.Connection:
        file = rows_file(self._path)
        base = sqlite3.connect(file, timeout=30, check_same_thread=False)
        base.execute("PRAGMA case_sensitive_like = ON")
        self._inode = file.stat().st_ino
        return base

    def _compare_rows(self) -> None:
        """Compare the rows with their checksum; raise InputError if they are damaged."""
        with foreign(rows_file(self._path), "cannot be read", BROKEN), self._lock:
            row_total.check(self._base, _WHOLE)

    def _opened(self) -> Any:
        """Read the FAISS file, once.

        Raises:
            InputError: it is damaged, or holds other rows than the file next to it.
        """
        with self._lock:
            if self._index is None:
                self._compare_rows()
                remedy = "run the same bothways index again"
                with foreign(self.place, "cannot be read", remedy):
                    written = self._digest()
                    if written not in (None, file_sha256(self._path)):
                        raise ValueError("its bytes have changed since it was written")
                    binary = self.settings().precision == "binary"
                    read = self._faiss.read_index_binary if binary else self._faiss.read_index
                    index = read(self.place)
                    numbers = self._faiss.vector_to_array(index.id_map)
                    rows = self._all("SELECT number FROM rows ORDER BY number")
                    if not np.array_equal(np.sort(numbers), np.array(rows).reshape(-1)):
                        raise ValueError("it does not hold the rows of the file next to it")
                self._read_at = self._path.stat().st_mtime_ns
                self._index = index
            return self._index

    def _digest(self) -> str | None:
        """Return the SHA-256 of the FAISS file as it was written. None if an older version did."""
        table = self._all("SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'file'")
        found = self._all("SELECT sha256 FROM file") if table else []
        return str(found[0][0]) if found else None

    def _numbers(self, where: Condition) -> np.ndarray:
        values: list[Value] = []
        query = f"SELECT number FROM rows WHERE {write_sql(where, placed(values))}"
        return np.array([row[0] for row in self._all(query, values)], dtype=np.int64)

    def _blocks(self, numbers: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield numbers (n,) and vectors (n, D) of all rows, or of the rows with some numbers."""
        asked = "SELECT number, vector FROM rows WHERE number"
        if numbers is not None:
            for part in _parts(numbers.tolist()):
                rows = self._all(f"{asked} IN ({', '.join('?' * len(part))})", part)
                if rows:
                    yield _block(rows)
            return
        last = 0
        while rows := self._all(f"{asked} > ? ORDER BY number LIMIT {_BLOCK}", (last,)):
            last = rows[-1][0]
            yield _block(rows)

    def _every(
        self, query: np.ndarray, count: int, numbers: np.ndarray | None, similarity: Similarity
    ) -> np.ndarray:
        """Find the numbers of the nearest rows by reading the vectors of all, or of some."""
        found, best = np.empty(0, np.int64), np.empty(0)
        for here, vectors in self._blocks(numbers):
            found = np.concatenate([found, here])
            best = np.concatenate([best, scores(query[None], vectors, similarity)[0]])
            order = np.lexsort((found, -best))[:count]
            found, best = found[order], best[order]
        return found

    def _all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._reading(), self._lock:
            return self._base.execute(query, tuple(values)).fetchall()

    def _each(self, query: str) -> Iterator[Any]:
        with self._reading():
            cursor = self._base.execute(query)
            while rows := cursor.fetchmany(_BLOCK):
                yield from rows

    def _reading(self) -> AbstractContextManager[None]:
        return foreign(self.place, "cannot be read", BROKEN)

    def _writing(self) -> AbstractContextManager[None]:
        remedy = "make room or choose another place; what is there stays, and the same command goes on from it"
        return foreign(self.place, "cannot be written", remedy, kind=OutputError)


def _block(rows: Sequence[tuple[int, bytes]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers (n,) and vectors (n, D) of rows of the database."""
    flat = np.frombuffer(b"".join(vector for _, vector in rows), np.float32)
    return np.array([number for number, _ in rows], np.int64), flat.reshape(len(rows), -1)


def _parts(names: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(names), _SOME):
        yield names[first : first + _SOME]
