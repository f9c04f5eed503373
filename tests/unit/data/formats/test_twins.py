"""A table that lies in a folder in two formats is read once."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bothways.data.text.readers import read_texts


def put(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"text": texts}), path)
        return
    lines = [json.dumps({"text": text}) if ".json" in path.name else text for text in texts]
    content = "\n".join(["text", *lines] if path.suffix == ".csv" else lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize(
    ("kept", "left"),
    [
        ("train.parquet", "train.jsonl"),
        ("train.parquet", "train.csv"),
        ("train.jsonl", "train.csv"),
        ("train.jsonl", "train.jsonl.gz"),
        ("train.jsonl.gz", "train.txt"),
        ("data/train-00000-of-00001.parquet", "data/train-00000-of-00001.jsonl"),
    ],
)
def test_one_of_two_formats_is_read(tmp_path: Path, kept: str, left: str, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path / kept, ["a", "b"])
    put(tmp_path / left, ["a", "b"])
    assert read_texts(tmp_path) == ["a", "b"]
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == [
        f"{tmp_path / left}: not read, because {Path(kept).name} has the same name; name the file itself to read it"
    ]
    assert read_texts(tmp_path / left) == ["a", "b"]


def test_other_names_and_folders_are_all_read(tmp_path: Path) -> None:
    for number, name in enumerate(("a.jsonl", "b.csv", "en/a.parquet", "a-1.txt", "A.csv")):
        put(tmp_path / name, [f"text {number}"])
    assert sorted(read_texts(tmp_path)) == [f"text {number}" for number in range(5)]
