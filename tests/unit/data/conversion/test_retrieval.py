"""BEIR folders: judged documents alone are read, by grade."""

import gzip
import json

import pytest

from bothways.data.conversion.options import JudgedOptions
from bothways.data.conversion.retrieval import retrieval
from bothways.data.labeled.beir import is_beir
from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.labeled.templates import Prompts

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


def test_examples(folder):
    converted = retrieval(folder, JudgedOptions(prompts=Prompts("q: ")))
    assert converted.examples == [
        Example("first", ("T one", "two"), ("three",), query_prompt="q: ", task="animals"),
        Example("second", ("three",), query_prompt="q: ", task="animals"),
    ]
    assert converted.rows == 5
    assert converted.dropped == {"queries without a relevant document in the corpus": 1, "queries without a text": 2}
    assert retrieval(folder, JudgedOptions(min_grade=2)).examples == [Example("first", ("T one",), ("three",), task="animals")]
    assert retrieval(folder, JudgedOptions(split="test")).examples[0].query == "third"


def test_copies_in_the_corpus_are_one_text(folder):
    copies = [{"_id": f"c{number}", "text": text} for number, text in enumerate(("two", "three", "three"))]
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(lines(CORPUS + copies).encode()))
    judged = "q1\td2\t1\nq1\tc0\t0\nq1\td3\t0\nq1\tc1\t0\nq1\tc2\t0\n"
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    assert retrieval(folder).examples == [Example("first", ("two",), ("three",), task="animals")]


def test_the_reader_takes_the_folder(folder):
    assert is_beir(folder) and not is_beir(folder / "qrels") and not is_beir(folder / "queries.jsonl")
    plain = retrieval(folder).examples
    assert read_examples(folder) == plain == read_examples(str(folder), dialect="beir")
    prompted = read_examples(folder, task="t", query_prompt="q: ", limit=1)
    assert prompted == [Example("first", ("T one", "two"), ("three",), query_prompt="q: ", task="t")]
