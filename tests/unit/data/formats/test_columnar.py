"""Columnar tables give the texts of the other formats."""

import gzip

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from bothways.data.formats import columnar
from bothways.data.formats.columnar import columnar_rows
from bothways.data.rows import iter_rows
from bothways.errors import InputError, SourceError


def write(folder, name, content):
    raw = content if isinstance(content, bytes) else content.encode("utf-8")
    path = folder / name
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


TEXTS = ["one", "two\u2028still two", "three\x85\x0cstill three", "  four ", "x" * 300_000]


def as_parquet(folder, name, rows):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = folder / name.removesuffix(".gz")
    pq.write_table(pa.Table.from_pylist(rows), path)
    if name.endswith(".gz"):
        path = write(folder, name, path.read_bytes())
    return path


@pytest.mark.parametrize("name", ["a.parquet", "a.parquet.gz", "A.PARQUET"])
def test_parquet_gives_the_same_texts(tmp_path, name):
    rows = [{"text": text, "n": i} for i, text in enumerate(TEXTS * 700)]  # several batches
    path = as_parquet(tmp_path, name, rows)
    assert list(iter_rows(path)) == list(enumerate(rows, start=1))
    assert list(iter_rows(path, keep=lambda names: names[1:])) == [(i, {"n": i - 1}) for i in range(1, len(rows) + 1)]


@pytest.mark.parametrize("error", [InputError("no such column"), SourceError("no access")])
def test_parquet_lets_our_errors_through(tmp_path, error):
    """SourceError is an OSError, which a damaged file raises too; it must not be reported as
    damage.
    """

    def refuse(names):
        raise error

    with pytest.raises(type(error), match=str(error)):
        list(iter_rows(as_parquet(tmp_path, "a.parquet", [{"text": "a"}]), keep=refuse))


@pytest.mark.parametrize("ending", ["parquet", "arrow", "stream.arrow", "feather", "parquet.gz"])
def test_values_are_those_of_pyarrow_in_every_format(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(columnar, "PARQUET_ROWS", 2)
    table = pa.table({"__index_level_0__": [0, 1, 2], "text": ["a", None, "\u2028"], "list": [["x"], [], None], "n": [1, 2, 3]})
    path, plain = tmp_path / f"a.{ending}", tmp_path / "plain"
    if "parquet" in ending:
        pq.write_table(table, plain)
    elif ending == "feather":
        feather.write_feather(table, str(plain), compression="lz4")
    else:
        new = pa.ipc.new_stream if "stream" in ending else pa.ipc.new_file
        with new(str(plain), table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    path.write_bytes(gzip.compress(plain.read_bytes()) if ending.endswith("gz") else plain.read_bytes())
    asked = []
    rows = list(columnar_rows(path, lambda names: (asked.append(names), ["text", "list"])[1]))
    assert asked == [["text", "list", "n"]], "an index of pandas is not offered"
    assert rows == list(enumerate(table.select(["text", "list"]).to_pylist(), start=1))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=rf"a\.{ending}: not readable as (parquet|Arrow) after row"):
        list(columnar_rows(path, None))
