"""A folder with a LanceDB table: nothing to start, and vectors that may be larger than memory.

    notes.index/index.json     the settings
    notes.index/rows.lance/    the table
    notes.index/digests.json   SHA-256 of the table's files
    notes.index/bm25/          words, made by the first hybrid search

Every `add` is a transaction of Lance, so a kill loses at most the batch that was being written.
When an index is opened, the table's files are compared with their SHA-256, because Lance itself
reads changed bytes as other numbers and texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bothways.atomic import atomic_file
from bothways.errors import InputError, MissingExtra, OutputError
from bothways.foreign import foreign, read_object
from bothways.indexing.file_digests import FileDigests
from bothways.indexing.filters import Condition, quoted, write_sql
from bothways.indexing.index_rows import COLUMNS, SIZE, Entry
from bothways.indexing.settings import IndexSettings, parsed_settings, settings_text
from bothways.indexing.store import Near, RemovedIndex, Store, Stored
from bothways.similarity_names import Similarity

if TYPE_CHECKING:
    import pyarrow as pa

SETTINGS = "index.json"
_DIGESTS = "digests.json"
_TABLE = "rows"
_MUTABLE = "latest_version_hint.json"  # the only file that Lance writes again, and checks itself
_SIGNS = "signs"  # column of a binary index
_SOME = 500  # names in one condition
_OLD = timedelta(minutes=10)  # versions that readers may still use
_EVERY = 2**31 - 1  # Lance searches give 10 rows unless told otherwise
_METRICS = {"cosine": "dot", "dot": "dot", "euclidean": "l2"}  # of unit vectors, for cosine
_BROKEN = "the index is damaged, so remove it and index again"


class LanceStore(Store):
    """The table of a folder.

    Args:
        folder: the folder.
        settings: if given, write them and make the table if there is none.

    Raises:
        MissingExtra: lancedb is not installed.
        InputError: the folder holds no index, or one that cannot be read, or LanceDB has no such
            similarity.
        OutputError: the folder cannot be written.
    """

    keeps_signs = True

    def __init__(self, folder: Path, settings: IndexSettings | None = None) -> None:
        try:
            import lancedb
        except ImportError:
            raise MissingExtra("lancedb", "index", "an index in a folder") from None
        self.place, self.words, self._folder = str(folder), folder / "bm25", folder
        self._digests = FileDigests(folder, _DIGESTS, _BROKEN)
        self._compared: object = None
        if settings is not None:
            if settings.similarity not in _METRICS:
                raise InputError(
                    f"{folder}: LanceDB does not know the {settings.similarity} similarity; use a .faiss file (--to {folder}.faiss), "
                    f"Qdrant or PostgreSQL, or give --similarity {', '.join(_METRICS)}"
                )
            if folder.exists() and not is_index(folder) and any(folder.iterdir()):
                raise InputError(
                    f"{folder}: is not empty and holds no index; choose another place, or remove it"
                )
            if is_index(folder):
                self.version()
            self.write_settings(settings)
        elif not is_index(folder):
            raise InputError(
                f"{folder}: holds no index; make one with: bothways index SOURCE --model MODEL --to {folder}"
            )
        self.version()
        with self._reading():
            # other processes' changes are seen at once
            self._base: Any = lancedb.connect(str(folder), read_consistency_interval=timedelta(0))
            there = (folder / f"{_TABLE}.lance").is_dir()
            if settings is None and not there:
                raise ValueError("it has no table")
        if not there and settings is not None:
            with self._writing():
                schema = _schema(settings.dimension, signs=settings.precision == "binary")
                self._table: Any = self._base.create_table(_TABLE, schema=schema)
        else:
            with self._reading():
                self._table = self._base.open_table(_TABLE)
                names = set(self._table.schema.names)
                if not {*COLUMNS, "vector"} <= names:
                    raise ValueError("its table has other columns")

    def settings(self) -> IndexSettings:
        """Read the settings."""
        return read_settings(self._folder / SETTINGS)

    def write_settings(self, settings: IndexSettings) -> None:
        """Replace the settings."""
        write_settings(self._folder / SETTINGS, settings)

    def version(self) -> object:
        """Return the time of the last change of the settings.

        If they have changed, new files of the table are compared with their SHA-256.

        Raises:
            RemovedIndex: the folder holds no index any more.
            InputError: a file is damaged.
        """
        if not is_index(self._folder):
            raise RemovedIndex(self.place)
        with self._reading():
            found = (self._folder / SETTINGS).stat().st_mtime_ns
            if found != self._compared:
                self._digests.check()
                self._compared = found
            return found

    def documents(self) -> Iterator[tuple[bytes, bytes, str]]:
        """Yield (document, digest, source) of each row."""
        for batch in self._batches(["document", "digest", "source"]):
            yield from zip(*(column.to_pylist() for column in batch.columns))

    def known(self, digests: Sequence[bytes]) -> dict[bytes, Stored]:
        """Find passages and vectors of texts that the store holds at any place."""
        found: dict[bytes, dict[tuple[int, int], np.ndarray]] = {}
        for batch in self._named("digest", digests, ["digest", "start", "end", "vector"]):
            columns = [column.to_pylist() for column in batch.columns[:3]]
            for digest, start, end, vector in zip(*columns, _vectors(batch["vector"])):
                found.setdefault(digest, {})[start, end] = vector
        return {
            digest: Stored(spans := sorted(rows), np.stack([rows[span] for span in spans]))
            for digest, rows in found.items()
        }

    def add(self, entries: Sequence[Entry], vectors: np.ndarray) -> None:
        """Add rows with vectors (n, D) float32, all of them or none."""
        import pyarrow as pa

        signs = _SIGNS in self._table.schema.names
        schema = _schema(vectors.shape[1], signs=signs)
        columns = [
            pa.array([entry[number] for entry in entries], schema.field(name).type)
            for number, name in enumerate(COLUMNS)
        ]
        flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
        columns.append(pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
        if signs:
            bits = np.packbits(vectors > 0, axis=1)
            columns.append(
                pa.FixedSizeListArray.from_arrays(pa.array(bits.reshape(-1)), bits.shape[1])
            )
        with self._writing():
            self._table.add(pa.Table.from_arrays(columns, schema=schema))

    def remove(self, documents: Sequence[bytes]) -> None:
        """Remove all rows of documents."""
        with self._writing():
            for some in _parts(documents):
                self._table.delete(_among("document", some))

    def finish(self, *, approximate: bool) -> None:
        """Join small files and remove old versions. If `approximate`, cluster the vectors."""
        with self._writing():
            self._table.optimize(cleanup_older_than=_OLD)
            metric = _METRICS[self.settings().similarity]
            if approximate and self._table.count_rows() > 0:
                # 256 rows are the fewest that Lance trains its codes on
                if self._table.count_rows() >= 256:
                    self._table.create_index(
                        metric=metric,
                        vector_column_name="vector",
                        index_type="IVF_HNSW_SQ",
                        replace=True,
                    )
                self._table.optimize(cleanup_older_than=_OLD)
            files = (self._folder / f"{_TABLE}.lance").rglob("*")
            self._digests.record(each for each in files if each.is_file() and each.name != _MUTABLE)

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
        with self._reading():
            search = self._table.search(np.asarray(query, np.float32), vector_column_name="vector")
            search = search.distance_type(_METRICS[similarity])
            search = search.bypass_vector_index() if exact else search.refine_factor(4)
        return self._near(search, count, where, len(query))

    def nearest_by_signs(self, query: np.ndarray, count: int, where: Condition | None) -> Near:
        """Find the rows that have the most signs in common with a query (D,), best first."""
        with self._reading():
            search = self._table.search(np.packbits(query > 0), vector_column_name=_SIGNS)
            search = search.distance_type("hamming").bypass_vector_index()
        return self._near(search, count, where, len(query))

    def _near(self, search: Any, count: int, where: Condition | None, width: int) -> Near:
        """Run a search for rows with their vectors (n, `width`), without their texts."""
        names = [name for name in COLUMNS if name != "text"]
        with self._reading():
            search = search.limit(count).select([*names, "vector", "_distance"])
            if where is not None:
                search = search.where(write_sql(where, quoted), prefilter=True)
            table = search.to_arrow().combine_chunks()
        columns = [table[name].to_pylist() for name in names]
        found = [Entry._make((*row, "")) for row in zip(*columns)]
        vectors = [_vectors(chunk) for chunk in table["vector"].chunks]
        return Near(found, np.concatenate(vectors) if vectors else np.zeros((0, width)))

    def texts(self) -> Iterator[Entry]:
        """Yield all rows."""
        for batch in self._batches(list(COLUMNS)):
            yield from map(Entry._make, zip(*(column.to_pylist() for column in batch.columns)))

    def entries(self, ids: Sequence[bytes]) -> dict[bytes, Entry]:
        """Read rows by their names."""
        found = {}
        for batch in self._named("id", ids, list(COLUMNS)):
            for row in zip(*(column.to_pylist() for column in batch.columns)):
                found[row[0]] = Entry(*row)
        return found

    def matching(self, where: Condition) -> set[bytes]:
        """Find the names of all rows that satisfy a condition."""
        batches = self._batches(["id"], write_sql(where, quoted))
        return {name for batch in batches for name in batch["id"].to_pylist()}

    def count(self) -> int:
        """Count the rows."""
        with self._reading():
            return int(self._table.count_rows())

    def close(self) -> None:
        """Free the table."""
        self._table = self._base = None

    def _named(self, column: str, names: Sequence[bytes], wanted: list[str]) -> Iterator[Any]:
        for some in _parts(names):
            yield from self._batches(wanted, _among(column, some))

    def _batches(self, columns: list[str], where: str | None = None) -> Iterator[Any]:
        with self._reading():
            search = self._table.search().select(columns).limit(_EVERY)
            if where is not None:
                search = search.where(where)
            for batch in search.to_batches(8192):
                yield batch.select(columns)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with foreign(self.place, "cannot be read", _BROKEN):
                yield
        except InputError:
            if not is_index(self._folder):  # removed in the middle of a search
                raise RemovedIndex(self.place) from None
            raise

    def _writing(self) -> AbstractContextManager[None]:
        remedy = "make room or choose another place; what is there stays, and the same command goes on from it"
        return foreign(self.place, "cannot be written", remedy, kind=OutputError)


def is_index(folder: Path) -> bool:
    """Tell if a folder holds an index of this kind."""
    return (folder / SETTINGS).is_file()


def read_settings(file: Path) -> IndexSettings:
    """Read settings from a file.

    Raises:
        InputError: the file is damaged, or a newer bothways wrote it.
    """
    return parsed_settings(read_object(file, remedy=_BROKEN), str(file))


def write_settings(file: Path, settings: IndexSettings) -> None:
    """Write settings into a file, as a whole or not at all."""
    with atomic_file(file) as part:
        part.write_text(settings_text(settings), encoding="utf-8")


def _schema(dimension: int, *, signs: bool) -> pa.Schema:
    """Return the columns of the table. Signs are packed, eight in a byte."""
    import pyarrow as pa

    name, text, number = pa.binary(SIZE), pa.string(), pa.int64()
    kinds = [name, name, name, text, text, number, number, number, text]
    fields = [pa.field(column, kind) for column, kind in zip(COLUMNS, kinds)]
    fields.append(pa.field("vector", pa.list_(pa.float32(), dimension)))
    if signs:
        fields.append(pa.field(_SIGNS, pa.list_(pa.uint8(), -(-dimension // 8))))
    return pa.schema(fields)


def _vectors(array: pa.FixedSizeListArray) -> np.ndarray:
    """Read a column of vectors as (n, D) float32."""
    flat = np.asarray(array.flatten().to_numpy(zero_copy_only=False), dtype=np.float32)
    return flat.reshape(len(array), -1) if len(array) else flat.reshape(0, array.type.list_size)


def _among(column: str, names: Sequence[bytes]) -> str:
    return f'"{column}" IN ({", ".join(f"X{name.hex()!r}" for name in names)})'


def _parts(names: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for first in range(0, len(names), _SOME):
        yield names[first : first + _SOME]
