"""The shards of a source that streams, against the readers that take it whole."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bothways.data import text_sources
from bothways.data.embedded import stdlib
from bothways.data.labeled.example_reader import ExampleReader
from bothways.data.streams.shards import TextReader, shards_of
from bothways.data.text.documents import read_documents
from bothways.data.text.readers import read_texts
from bothways.errors import InputError


def every(source: Path | str, reader: object) -> list:
    return [item for shard in shards_of(str(source), reader) for item in shard.items()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of every kind, an empty text, a held-out split and a file of another kind."""
    lines = [json.dumps({"text": f"line {n}"}) for n in range(5)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, json.dumps({"text": " "})]))
    with gzip.open(tmp_path / "b.txt.gz", "wt") as stream:
        stream.write("one\n\ntwo\nthree\n")
    pq.write_table(
        pa.table({"text": [f"cell {n}" for n in range(7)], "split": ["train"] * 6 + ["test"]}), tmp_path / "c.parquet"
    )
    (tmp_path / "test.jsonl").write_text("\n".join(lines))
    (tmp_path / "other.jsonl").write_text(json.dumps({"number": 3}))
    (tmp_path / "empty.txt").write_text("")
    return tmp_path


def test_texts_are_those_of_the_folder_read_whole(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert every(folder, TextReader()) == read_texts(folder)
    assert len(read_texts(folder)) == 5 + 3 + 6
    with caplog.at_level(logging.WARNING):
        every(folder, TextReader())
    assert "test.jsonl" in caplog.text and "the folder's other files are read without it" in caplog.text
    assert next(Path(shard.name).name for shard in shards_of(str(folder), TextReader())) == "a.jsonl"


def test_a_named_file_without_a_text_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"other\.jsonl"):
        every(folder / "other.jsonl", TextReader())
    with pytest.raises(InputError, match="no column 'body'"):
        every(folder / "a.jsonl", TextReader(column="body"))


def test_documents_and_columns(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("A first line.\nA second one.\n")
    (tmp_path / "wiki.txt").write_text('<doc id="1">\nBody one.\n</doc>\n<doc id="2">\nBody two.\n</doc>\n')
    assert every(tmp_path, TextReader.documents(None, None)) == read_documents(tmp_path)
    assert len(every(tmp_path, TextReader.documents(None, None))) == 3
    assert every(tmp_path, TextReader.documents(None, "line")) == read_documents(tmp_path, unit="line")


def test_a_beir_folder_does_not_stream(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": "d", "text": "t"}))
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "t"}))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    with pytest.raises(InputError, match="bothways prepare retrieval"):
        shards_of(str(tmp_path), ExampleReader())


def test_a_hub_dataset_has_its_own_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`load_dataset` is the real one, with files here in place of the hub's."""
    files = []
    for number in range(3):
        files.append(str(tmp_path / f"train-{number:05d}-of-00003.parquet"))
        pq.write_table(pa.table({"text": [f"text {number} {n}" for n in range(4)]}), files[-1])
    real = datasets.load_dataset

    def load(name: str, config: str | None, *, split: str, streaming: bool):
        assert (name, config, split, streaming) == ("org/name", "en", "train", True)
        return real("parquet", data_files={"train": files}, split="train", streaming=True, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", load)
    found = shards_of("org/name:en/train", TextReader())
    assert [shard.name for shard in found] == [f"org/name:en/train, shard {n} of 3" for n in (1, 2, 3)]
    assert [list(shard.items()) for shard in found] == [[f"text {number} {n}" for n in range(4)] for number in range(3)]
    assert list(found[1].items()) == list(found[1].items())
    assert text_sources.hub_shard_count(text_sources.resolve_texts("org/name:en/train")) == 3


def test_the_embedded_texts_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdlib, "training_sentences", lambda: ["one", "", "two"])
    assert every("python-stdlib", TextReader(column="sentence")) == ["one", "two"]
