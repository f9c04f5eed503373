"""Partitioned folders as pandas, polars and pyarrow write them, and folders of table formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest

from bothways.data.formats.partitions import partition_values
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.rows import iter_rows
from bothways.data.text.readers import read_texts
from bothways.data.text_sources import resolve_texts
from bothways.errors import InputError

CLASSES = pd.DataFrame({"text": ["a cat", "a dog", "a car", "a bus"], "label": ["pets", "pets", "test", "road & rail"]})


def polars(folder: Path) -> None:
    pl = pytest.importorskip("polars")
    pl.DataFrame(CLASSES.to_dict("list")).write_parquet(pl.PartitionBy(folder, key=["label"]))


def arrow(kind: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        by = pa.dataset.partitioning(pa.schema([("label", pa.string())]), flavor="hive")
        pa.dataset.write_dataset(pa.table(CLASSES), folder, format=kind, partitioning=by)

    return write


WRITERS: dict[str, Callable[[Path], Any]] = {
    "pandas": lambda folder: CLASSES.to_parquet(folder, partition_cols=["label"]),
    "polars": polars,
    "pyarrow, csv": arrow("csv"),
    "pyarrow, parquet": arrow("parquet"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_labels_are_in_the_names_of_folders(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / "table")
    source = resolve_texts(tmp_path / "table")
    found = [(row["text"], row["label"]) for file in source.files for _, row in iter_rows(file)]
    assert sorted(found) == sorted(zip(CLASSES["text"], CLASSES["label"]))
    # a class named "test" is no held-out split
    assert not source.left_out
    assert sorted(read_texts(tmp_path / "table", column="text")) == sorted(CLASSES["text"])


def test_a_held_out_split_is_a_partition_too(tmp_path: Path) -> None:
    table = pd.DataFrame({"query": ["q", "r"], "pos": ["p", "s"], "split": ["train", "test"]})
    table.to_parquet(tmp_path / "table", partition_cols=["split"])
    assert [each.query for each in read_examples(tmp_path / "table")] == ["q"]


def test_the_columns_of_a_path() -> None:
    for path, values in {
        "data/lang=en/label=a%20b/part-0.parquet": {"lang": "en", "label": "a b"},
        "lang=__HIVE_DEFAULT_PARTITION__/x.csv": {"lang": None},
        "lr=0.1/data/x.csv": {},
        "a=b.csv": {},
        "2=3/x.csv": {},
    }.items():
        assert partition_values(PurePosixPath(path)) == values, path


def test_a_column_of_the_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "label=x").mkdir()
    (tmp_path / "label=x" / "t.csv").write_text("text,label\na,y\n")
    assert [row for _, row in iter_rows(tmp_path / "label=x" / "t.csv")] == [{"text": "a", "label": "y"}]


@pytest.mark.parametrize(
    ("log", "kind"),
    [
        ("_delta_log/00000000000000000000.json", "a Delta Lake table"),
        ("metadata/v1.metadata.json", "an Iceberg table"),
        ("metadata/00002-9c12d441-03fe-4693-9a96-a0705ddf69c1.gz.metadata.json", "an Iceberg table"),
        (".hoodie/hoodie.properties", "a Hudi table"),
    ],
)
def test_table_formats_with_a_log_are_refused(tmp_path: Path, log: str, kind: str) -> None:
    (tmp_path / "table" / "data").mkdir(parents=True)
    CLASSES.to_parquet(tmp_path / "table" / "data" / "old.parquet")
    (tmp_path / "table" / log).parent.mkdir()
    (tmp_path / "table" / log).write_text("{}")
    with pytest.raises(InputError, match=f"table: is {kind}"):
        read_texts(tmp_path / "table", column="text")


def test_what_spark_leaves_behind_is_not_read(tmp_path: Path) -> None:
    CLASSES.to_parquet(tmp_path / "part-00000-3f2c-c000.snappy.parquet")
    for name in ("_temporary", "_spark_metadata"):
        (tmp_path / name).mkdir()
        CLASSES.to_parquet(tmp_path / name / "part-00000.parquet")
    (tmp_path / "_SUCCESS").touch()
    assert len(read_texts(tmp_path, column="text")) == len(CLASSES)


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t.parquet: has two columns 'text'"):
        list(iter_rows(tmp_path / "t.parquet"))
