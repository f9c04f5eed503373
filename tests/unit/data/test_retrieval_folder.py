"""Retrieval collections in MTEB's and BEIR's folders are one."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pandas
import pytest

from bothways.data.evaluation_texts import read_evaluation_texts
from bothways.data.labeled.beir import is_beir
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.text.readers import read_texts
from bothways.errors import InputError
from bothways.evaluation.registry import make_task
from bothways.evaluation.tasks.retrieval import Retrieval
from bothways.mining.corpus import read_corpus


def write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pandas.DataFrame(rows)
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    elif path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_json(path, orient="records", lines=True)


def split(folder: Path, rows: list[dict], name: str = "train", ending: str = "parquet", shards: int = 3) -> list[Path]:
    """Write rows as that many shards and return the files."""
    size = -(-len(rows) // shards)
    files = [folder / f"{name}-{n:05d}-of-{shards:05d}.{ending}" for n in range(shards)]
    for path, part in zip(files, (rows[start : start + size] for start in range(0, len(rows), size)), strict=True):
        write(path, part)
    return files


CORPUS = [{"_id": f"d{n}", "title": f"T{n}" if n % 2 else "", "text": f"text {n}"} for n in range(7)]


QUERIES = [{"_id": f"q{n}", "text": f"query {n}"} for n in range(5)]


JUDGED = [{"query-id": f"q{n}", "corpus-id": f"d{n + 1}", "score": 1} for n in range(3)]


def collection(folder: Path, judgments: str = "qrels", ending: str = "parquet", key: str = "_id") -> Path:
    """MTEB's layout."""
    documents, queries = (
        [{key if name == "_id" else name: row[name] for name in row} for row in part] for part in (CORPUS, QUERIES)
    )
    split(folder / "corpus", documents, "corpus", ending)
    split(folder / "queries", queries, "queries", ending, shards=2)
    for name in ("train", "test"):
        split(folder / judgments, JUDGED, name, ending)
    return folder


def plain(folder: Path) -> Path:
    """The same as BEIR has it."""
    write(folder / "corpus.jsonl", CORPUS)
    write(folder / "queries.jsonl", QUERIES)
    for name in ("train", "test"):
        (folder / "qrels").mkdir(exist_ok=True)
        lines = ["\t".join(str(value) for value in row.values()) for row in JUDGED]
        (folder / "qrels" / f"{name}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    return folder


@pytest.mark.parametrize(
    ("judgments", "ending", "key"),
    [
        ("qrels", "parquet", "_id"),
        ("default", "parquet", "id"),
        ("data", "parquet", "_id"),
        ("qrels", "jsonl", "id"),
        ("default", "csv", "_id"),
    ],
)
def test_mteb_folders_are_beir_folders(tmp_path, judgments, ending, key):
    folder = collection(tmp_path / "x" / "same", judgments, ending, key)
    beir = plain(tmp_path / "y" / "same")
    assert is_beir(folder)
    assert Retrieval.from_argument(str(folder)).fingerprint == Retrieval.from_argument(str(beir)).fingerprint
    assert read_examples(folder) == read_examples(beir)
    assert list(read_corpus(folder)) == list(read_corpus(beir)) == [f"{row['title']} {row['text']}".strip() for row in CORPUS]
    assert read_evaluation_texts([folder]) == read_evaluation_texts([beir]) == ["query 0", "query 1", "query 2"]
    assert read_texts(folder, column="text") == read_texts(beir, column="text")


@pytest.mark.parametrize("part", ["corpus", "queries", "qrels"])
def test_a_missing_shard_of_a_collection_is_named(tmp_path, part):
    folder = collection(tmp_path)
    gone = sorted((folder / part).iterdir())[1]
    gone.unlink()
    with pytest.raises(InputError, match=f"the shard {gone.name}"):
        make_task(f"retrieval:{folder}")


def test_the_collection_as_datasets_reads_it(tmp_path):
    datasets = pytest.importorskip("datasets")
    folder = collection(tmp_path / "folder", "default")
    part = {"corpus": "corpus/*.parquet", "queries": "queries/*.parquet", "test": "default/test-*.parquet"}
    cache = str(tmp_path / "cache")
    loaded = {
        name: datasets.load_dataset(str(folder), data_files={name: place}, split=name, cache_dir=cache)
        for name, place in part.items()
    }
    own = make_task(f"retrieval:{folder}").collection
    assert list(own.corpus) == list(loaded["corpus"]["_id"])
    assert list(own.qrels) == list(dict.fromkeys(loaded["test"]["query-id"]))


def test_a_corpus_of_each_split(tmp_path):
    """What mteb pushes when splits differ: the asked one is read, and another name is refused."""
    folder = plain(tmp_path)
    (folder / "corpus.jsonl").unlink()
    for name, rows in (("train", CORPUS[:3]), ("test", CORPUS)):
        write(folder / "corpus" / f"{name}-00000-of-00001.parquet", rows)
    assert len(make_task(f"retrieval:{folder}").collection.corpus) == 7
    (folder / "qrels" / "dev.tsv").write_text((folder / "qrels" / "test.tsv").read_text())
    with pytest.raises(InputError, match=r"holds test, train, and none of these is the split 'dev'"):
        make_task(f"retrieval:{folder}?split=dev")


def test_ids_and_grades_of_columnar_tables(tmp_path):
    folder = plain(tmp_path)
    for path in itertools.chain((folder / "qrels").iterdir(), [folder / "corpus.jsonl", folder / "queries.jsonl"]):
        path.unlink()
    write(folder / "corpus" / "corpus-00000-of-00001.parquet", [{"_id": n, "text": f"text {n}"} for n in range(3)])
    write(folder / "queries" / "queries-00000-of-00001.parquet", [{"_id": n, "text": f"query {n}"} for n in range(3)])
    write(folder / "qrels" / "test-00000-of-00001.parquet", [{"query-id": n, "corpus-id": n, "score": 2.0} for n in range(3)])
    assert make_task(f"retrieval:{folder}").collection.qrels == {str(n): {str(n): 2} for n in range(3)}
    write(folder / "qrels" / "test-00000-of-00001.parquet", [{"query-id": 1, "corpus-id": 1, "score": 0.5}])
    with pytest.raises(InputError, match=r"row 1: score must be a whole number, got 0\.5"):
        make_task(f"retrieval:{folder}")


def test_a_text_folder_with_a_data_folder_is_no_collection(tmp_path):
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"text": "c"}) + "\n")
    (tmp_path / "queries.jsonl").write_text(json.dumps({"text": "q"}) + "\n")
    write(tmp_path / "data" / "train.jsonl", [{"text": "t"}])
    assert not is_beir(tmp_path)
    assert read_texts(tmp_path) == ["c", "t", "q"]
