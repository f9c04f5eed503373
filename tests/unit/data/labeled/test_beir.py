"""BEIR folders: the judged part as rows, and the fault that is named when one is broken."""

import gzip
import json

import pytest

from bothways.data.conversion.options import JudgedOptions
from bothways.data.conversion.retrieval import retrieval
from bothways.data.decontamination import Overlap
from bothways.data.evaluation_texts import read_evaluation_texts
from bothways.data.labeled.beir import judged_queries
from bothways.errors import InputError

CORPUS = [
    {"_id": "d1", "title": "T", "text": "one"},
    {"_id": "d2", "text": "two"},
    {"_id": "d3", "title": None, "text": "three"},
]


QUERIES = [
    {"_id": "q1", "text": "first"},
    {"_id": 2, "text": "second"},
    {"_id": "q3", "text": "third"},
    {"_id": "q4", "text": " "},
]


TRAIN = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t1\nq1\td3\t0\n2\td3\t1\nq3\tgone\t1\nq4\td1\t1\nq5\td1\t1\n"


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "animals"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(lines(CORPUS).encode()))
    (folder / "queries.jsonl").write_text(lines(QUERIES))
    (folder / "qrels" / "train.tsv").write_text(TRAIN)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td2\t1\n")
    return folder


def test_queries_of_the_test_split_are_kept_out(folder):
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n2\td2\t1\n")
    assert read_evaluation_texts([folder]) == ["second"] == judged_queries(folder, ["test", "dev"])
    converted = retrieval(folder, JudgedOptions(without=Overlap(read_evaluation_texts([folder]))))
    assert [example.query for example in converted.examples] == ["first"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "qrels/train.tsv",
            "query-id\tcorpus-id\tscore\nq1\td1\thigh\n",
            r"train.tsv, row 2: score must be a whole number, got 'high'",
        ),
        ("qrels/train.tsv", "q1\td1\t1\n2\td2\t1\n", "expected the header query-id, corpus-id, score"),
        ("qrels/train.tsv", "query-id\tcorpus-id\tscore\n", "no judgments below the header line"),
        ("qrels/train.tsv", "query-id\tcorpus-id\tscore\nq9\td1\t1\n", "none of the 1 queries judged"),
        ("queries.jsonl", '{"_id": "q1", "text": 1}\n', "queries.jsonl, row 1: column 'text' holds a number"),
        ("queries.jsonl", '{"_id": "q1", "text": "a"}\n' * 2, "row 2: _id 'q1' appears a second time"),
        ("queries.jsonl", '{"key": "q1"}\n', "row 1: no column '_id'"),
    ],
)
def test_broken_folders(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=message):
        retrieval(folder)


def test_missing_parts(folder, tmp_path):
    with pytest.raises(InputError, match=r"dev.tsv: no such file, gzipped or not"):
        retrieval(folder, JudgedOptions(split="dev"))
    with pytest.raises(InputError, match=r"not a BEIR folder; it must hold corpus.jsonl, queries.jsonl and qrels/train.tsv"):
        retrieval(tmp_path)
    with pytest.raises(InputError, match="min_grade: 0"):
        retrieval(folder, JudgedOptions(min_grade=0))
