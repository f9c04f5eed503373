"""Reads a folder of shards: `bw.read_shards`.

The shards have the methods of `search.shards.Shards`, so a search takes them as they are:

    shards = bw.read_shards("vectors/")
    DenseIndex(shards, shards.count).search(queries, 10)

Letters: N vectors, D numbers of each.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bothways.bulk.shard_file import damage, footer_sha256
from bothways.bulk.shard_folder import read_shard_manifest, records_of
from bothways.errors import InputError
from bothways.foreign import foreign

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

CACHED = 64
"""Row groups that are kept decoded for `rows` and `texts`, 1,024 vectors each."""
_REMEDY = "run the same `bothways encode` again, which encodes it"


class EncodedShards:
    """N vectors with their texts, in shards on the disk.

    Attributes:
        manifest: model, settings and shards.
        count: N.
        width: D.
        columns: names of the columns with vectors, ("vector",) or ("ebae", "ebar").
    """

    def __init__(self, folder: str | Path, *, verify: bool = False) -> None:
        """Open a folder; see `read_shards`."""
        self.folder = Path(folder)
        self.manifest = read_shard_manifest(self.folder)
        if not self.manifest["complete"]:
            raise InputError(
                f"{folder}: is not complete; run the same `bothways encode` again to finish it"
            )
        self.records = records_of(self.manifest)
        self._check(verify)
        self._starts = [0]
        for record in self.records:
            self._starts.append(self._starts[-1] + record.vectors)
        self.count, self.width = self._starts[-1], int(self.manifest["dimension"])
        both = self.manifest["settings"]["both"]
        self.columns: tuple[str, ...] = ("ebae", "ebar") if both else ("vector",)
        self._files: dict[int, Any] = {}  # open for `rows` and `texts`
        self._groups: OrderedDict[tuple[int, int, str], Any] = OrderedDict()

    def __len__(self) -> int:
        """Return N."""
        return self.count

    def blocks(
        self, size: int, stop: int | None = None, *, column: str | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first `stop` vectors in order, in blocks of at most `size`.

        A block is (number of its first vector, vectors (n, D) float32).

        Args:
            size: vectors of a block.
            stop: if None, N.
            column: for folders with several vectors of a text, which one. If None, the first.

        Raises:
            InputError: if a shard is damaged. The message names it.
        """
        if size < 1:
            raise InputError(f"size: must be at least 1 (got {size})")
        end = self.count if stop is None else min(stop, self.count)
        name = self._column(column)
        first = 0
        for number in range(len(self.records)):
            if first >= end:
                return
            for batch in self._batches(number, size, [name]):  # to its end, where rows are counted
                vectors = _array(batch.column(0), self.width)[: end - first]
                if len(vectors):
                    yield first, np.array(vectors)  # Arrow's own memory is read-only
                    first += len(vectors)

    def rows(self, places: Sequence[int] | np.ndarray, *, column: str | None = None) -> np.ndarray:
        """Return the vectors (n, D) float32 at these places, in this order."""
        name = self._column(column)
        found = np.empty((len(places), self.width), dtype=np.float32)
        for target, shard, group, row in self._located(places):
            found[target] = self._group(shard, group, name)[row]
        return found

    def texts(self, places: Sequence[int] | np.ndarray) -> list[str]:
        """Return the texts at these places, in this order."""
        found = [""] * len(places)
        for target, shard, group, row in self._located(places):
            found[target] = self._group(shard, group, "text")[row].as_py()
        return found

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Yield the shards as Arrow tables, part by part, with these columns or all.

        The columns are file, row, text and the vectors, and with chunks document, start and end.
        """
        import pyarrow as pa

        for number in range(len(self.records)):
            for batch in self._batches(number, 1024, None if columns is None else list(columns)):
                yield pa.Table.from_batches([batch])

    def array(self, *, column: str | None = None) -> np.ndarray:
        """Return all vectors (N, D) float32 in memory."""
        found = np.empty((self.count, self.width), dtype=np.float32)
        for first, block in self.blocks(16_384, column=column):
            found[first : first + len(block)] = block
        return found

    def _check(self, verify: bool) -> None:
        for record in self.records:
            path = self.folder / record.file
            size = path.stat().st_size if path.is_file() else None
            wrong = damage(path, record) if verify or size != record.bytes else None
            if wrong is not None:
                raise InputError(f"{path}: {wrong}; {_REMEDY}")

    def _column(self, name: str | None) -> str:
        if name is not None and name not in self.columns:
            raise InputError(
                f"{self.folder}: no vectors {name!r}; there are {', '.join(self.columns)}"
            )
        return name or self.columns[0]

    def _file(self, number: int) -> ParquetFile:
        if number not in self._files:
            self._files[number] = self._open(number)
        return self._files[number]

    def _open(self, number: int) -> ParquetFile:
        import pyarrow.parquet as pq

        record = self.records[number]
        path = self.folder / record.file
        if record.footer_sha256 and footer_sha256(path) != record.footer_sha256:
            raise ValueError("the footer has another SHA-256")
        return pq.ParquetFile(path, page_checksum_verification=True)

    def _batches(self, number: int, size: int, columns: list[str] | None) -> Iterator[Any]:
        path = self.folder / self.records[number].file
        # A file of its own, because one loop over the blocks may be inside another.
        with foreign(path, "cannot be read", _REMEDY), self._open(number) as file:
            rows = 0
            for batch in file.iter_batches(batch_size=size, columns=columns):
                rows += batch.num_rows
                yield batch
            _check_rows(rows, self.records[number].vectors)

    def _located(self, places: Sequence[int] | np.ndarray) -> Iterator[tuple[int, int, int, int]]:
        """Yield (index in `places`, shard, row group, row in it) of each place, shard by shard."""
        for target in np.argsort(np.asarray(places, dtype=np.int64), kind="stable"):
            place = int(places[target])
            if not 0 <= place < self.count:
                raise InputError(f"place {place}: must lie between 0 and {self.count - 1}")
            shard = bisect_right(self._starts, place) - 1
            row = place - self._starts[shard]
            with foreign(self.folder / self.records[shard].file, "cannot be read", _REMEDY):
                meta, group = self._file(shard).metadata, 0
                while row >= meta.row_group(group).num_rows:
                    row -= meta.row_group(group).num_rows
                    group += 1
            yield int(target), shard, group, row

    def _group(self, shard: int, group: int, column: str) -> Any:
        """Return a column of a row group: an array (n, D), or an Arrow array of texts."""
        key = (shard, group, column)
        if key not in self._groups:
            with foreign(self.folder / self.records[shard].file, "cannot be read", _REMEDY):
                table = self._file(shard).read_row_group(group, columns=[column])
                values = table.column(0).combine_chunks()
                _check_rows(len(values), self._file(shard).metadata.row_group(group).num_rows)
            self._groups[key] = values if column == "text" else _array(values, self.width)
            if len(self._groups) > CACHED:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]


def read_shards(folder: str | Path, *, verify: bool = False) -> EncodedShards:
    """Open a folder that `bulk_encode` or `bothways encode --out FOLDER/` wrote.

    For example, `read_shards("vectors/").array()` is (N, D).

    Args:
        folder: the folder.
        verify: if True, compare every shard's SHA-256 with the manifest, at about a gigabyte a
            second. If False, only sizes are compared now, and checksums when a part is read.

    Raises:
        InputError: if it is not such a folder, is not complete, or a shard is damaged. The message
            names the shard.
    """
    return EncodedShards(folder, verify=verify)


def _check_rows(found: int, expected: int) -> None:
    """Refuse a part that has lost rows: a page's checksum leaves out the page's own header."""
    if found != expected:
        raise ValueError(f"{found} rows and not {expected}")


def _array(values: pa.FixedSizeListArray, width: int) -> np.ndarray:
    found: np.ndarray = values.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return found
