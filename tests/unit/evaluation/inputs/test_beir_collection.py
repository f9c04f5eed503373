"""Reading BEIR folders: what is taken, and what each broken file gets told."""

from __future__ import annotations

import gzip
import json

import pytest

from bothways.errors import InputError
from bothways.evaluation.inputs.beir_collection import read_beir
from bothways.evaluation.tasks.retrieval import Retrieval

FILES = {
    "corpus.jsonl": [
        {"_id": "d1", "title": "T", "text": "one"},
        {"_id": 2, "title": "", "text": "two"},
        {"_id": "d3", "text": "3"},
    ],
    "queries.jsonl": [{"_id": "q1", "text": "first"}, {"_id": "q2", "text": "not judged"}],
    "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\t2\t0\n",
}


def folder(path, zipped=False, **changed):
    (path / "qrels").mkdir(parents=True)
    for name, content in {**FILES, **changed}.items():
        text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        if zipped:
            (path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (path / name).write_text(text)
    return path


def test_plain_and_gzipped_are_the_same(tmp_path):
    plain = read_beir(folder(tmp_path / "plain"))
    assert plain == read_beir(folder(tmp_path / "zipped", zipped=True))
    assert plain.corpus == {"d1": "T one", "2": "two", "d3": "3"}
    assert plain.queries == {"q1": "first"}
    assert plain.qrels == {"q1": {"d1": 2, "2": 0}}
    prints = [Retrieval.from_folder(tmp_path / name).fingerprint for name in ("plain", "zipped")]
    assert prints[0] == prints[1]


def test_ids_that_look_like_dates_or_numbers_stay_as_they_are(tmp_path):
    days = ["2024-05-01", "007", "1e5"]
    rows = [{"_id": day, "text": f"of {day}"} for day in days]
    judged = "query-id\tcorpus-id\tscore\n" + "".join(f"2024-05-01\t{day}\t1\n" for day in days)
    found = read_beir(folder(tmp_path, **{"corpus.jsonl": rows, "queries.jsonl": rows[:1], "qrels/test.tsv": judged}))
    assert list(found.corpus) == days and found.qrels == {"2024-05-01": dict.fromkeys(days, 1)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"corpus.jsonl": [{"_id": "d1", "text": None}]}, r"corpus\.jsonl, row 1: column 'text' holds a null"),
        ({"corpus.jsonl": [{"_id": "d1", "text": "a"}, {"_id": "d1", "text": "b"}]}, "row 2: _id 'd1' appears a second time"),
        ({"corpus.jsonl": [{"_id": "zz", "text": "a"}]}, "none of the judged documents is in"),
        ({"corpus.jsonl": '{"_id": "d1", "te'}, r"corpus\.jsonl, row 1"),
        ({"corpus.jsonl": ""}, "none of the judged documents is in"),
        ({"queries.jsonl": [{"_id": "q7", "text": "a"}]}, "judges query 'q1', which is not in"),
        ({"qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td1\thigh\n"}, r"test\.tsv, row 2: score must be a whole number"),
        ({"qrels/test.tsv": "query-id\tcorpus-id\tscore\n"}, "no judgments"),
        ({"qrels/test.tsv": "q1\t0\td1\t1\nq1\t0\t2\t1\n"}, "expected the header query-id, corpus-id, score"),
    ],
)
def test_broken_files_are_named(tmp_path, changed, message):
    with pytest.raises(InputError, match=message):
        read_beir(folder(tmp_path / "x", **changed))


def test_missing_folder_and_split(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_beir(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"qrels/dev\.tsv: no such file, gzipped or not"):
        read_beir(folder(tmp_path / "x"), split="dev")
