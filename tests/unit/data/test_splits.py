"""Training reads no test or validation rows that nobody named."""

import json
import logging

import pytest

from bothways.data.evaluation_texts import read_evaluation_texts
from bothways.data.fingerprint import describe_texts
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.labeled.labeled_text import read_labeled
from bothways.data.splits import is_held_out
from bothways.data.text.passages import read_passages
from bothways.data.text.readers import read_texts
from bothways.errors import InputError
from bothways.mining.corpus import read_corpus
from files import write_jsonl


@pytest.mark.parametrize(
    "path, held_out",
    [
        ("test.jsonl", True),
        ("data/test-00000-of-00001.parquet", True),
        ("nli_dev.tsv.gz", True),
        ("dev_matched.jsonl", True),
        ("validation/data-00000-of-00001.arrow", True),
        ("heldout.txt", True),
        ("held-out/a.txt", True),
        ("test2014.csv", True),
        ("Eval.JSONL", True),
        ("train.jsonl", False),
        ("test/train-00000-of-00001.parquet", False),
        ("train/dev.jsonl", True),
        ("contest.jsonl", False),
        ("devices.jsonl", False),
        ("evaluations_of_wine.txt", False),
        ("rows.jsonl", False),
    ],
)
def test_names(path, held_out):
    assert is_held_out(path) is held_out


def published(folder, *, labelled=False, splits=("train", "validation", "test")):
    for split in splits:
        rows = [{"text": f"{split} {n}", "label": n, "query": f"{split} {n}", "pos": [f"answer {n}"]} for n in (1, 2)]
        wanted = ("query", "pos") if labelled else ("text", "label")
        write_jsonl(folder / "data" / f"{split}-00000-of-00001.jsonl", [{name: row[name] for name in wanted} for row in rows])
    return folder


READERS = {
    "texts": lambda folder: read_texts(folder),
    "passages": lambda folder: read_passages(folder),
    "labels": lambda folder: [item.text for item in read_labeled(folder)],
    "corpus": lambda folder: list(read_corpus(folder)),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.mark.parametrize("kind", READERS)
def test_held_out_files_stay_out_and_are_named(folder, caplog, kind):
    published(folder)
    caplog.set_level(logging.WARNING, logger="bothways")
    assert READERS[kind](folder) == ["train 1", "train 2"]
    (line,) = caplog.messages
    assert "test-00000-of-00001.jsonl" in line and "validation-00000" in line


def test_labelled_rows_and_provenance(folder, caplog):
    published(folder, labelled=True)
    caplog.set_level(logging.WARNING, logger="bothways")
    assert [example.query for example in read_examples(folder)] == ["train 1", "train 2"]
    assert "test-00000-of-00001.jsonl" in caplog.text
    assert list(describe_texts(folder)["files"]) == ["data/train-00000-of-00001.jsonl"]


def test_who_names_the_file_gets_it(folder, caplog):
    published(folder)
    caplog.set_level(logging.WARNING, logger="bothways")
    assert read_texts(folder / "data" / "test-00000-of-00001.jsonl") == ["test 1", "test 2"]
    assert read_texts(folder, splits="all")[0] == "test 1" and not caplog.messages


def test_only_held_out_files(folder):
    published(folder, splits=("test",))
    with pytest.raises(InputError, match=r"only test and validation data \(data/test-00000.*name the file itself"):
        read_texts(folder)


def test_overlap_is_looked_for_in_the_held_out_files(folder):
    """Otherwise a folder's training rows would be removed as copies of themselves."""
    published(folder)
    assert read_evaluation_texts([folder]) == ["test 1", "test 2", "validation 1", "validation 2"]
    (folder / "plain").mkdir()
    write_jsonl(folder / "plain" / "rows.jsonl", [{"text": "a"}])
    assert read_evaluation_texts([folder / "plain"]) == ["a"]


def test_rows_that_say_they_are_held_out(tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger="bothways")
    rows = [{"text": f"{split} text", "split": split} for split in ("train", "test", "Validation", "held-out")]
    write_jsonl(tmp_path / "all.jsonl", rows)
    write_jsonl(tmp_path / "test.jsonl", rows[1:])
    write_jsonl(tmp_path / "other.jsonl", rows[1:])
    assert read_texts(tmp_path / "all.jsonl") == ["train text"]
    assert "left out 3 rows of held-out splits, the first in row 2 (split 'test')" in caplog.text
    assert len(read_texts(tmp_path / "test.jsonl")) == 3  # named by the user
    with pytest.raises(InputError, match="row 1: column 'split' says 'test', and so do all 3 rows"):
        read_texts(tmp_path / "other.jsonl")


def test_columns_of_splits_in_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "all.parquet"
    pandas.DataFrame({"id": [1, 2], "text": ["a", "b"], "split": ["train", "dev"]}).to_parquet(path)
    assert read_texts(path) == ["a"]


def test_queries_of_a_beir_folder(tmp_path, caplog):
    """Its queries are judged in test too, so that they are no training text; its corpus is."""
    caplog.set_level(logging.WARNING, logger="bothways")
    (tmp_path / "qrels").mkdir()
    write_jsonl(tmp_path / "corpus.jsonl", [{"_id": "d", "text": "document"}])
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "q", "text": "query"}])
    (tmp_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    assert read_texts(tmp_path) == ["document", "query"]
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    assert read_texts(tmp_path) == ["document"]
    assert "queries.jsonl" in caplog.text
    assert json.dumps(describe_texts(tmp_path)["files"]).count("jsonl") == 2
