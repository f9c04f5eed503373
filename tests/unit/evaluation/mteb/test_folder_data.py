"""mteb's own tasks on folders of one's own, compared with our tasks on the same files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bothways.errors import InputError, SourceError
from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.registry import make_task

pytest.importorskip("mteb")

WORDS = ["cat", "dog", "river", "stock", "price", "bird", "song", "boat", "rain", "bank"]


class Letters:
    name = "letters"

    def encode(self, texts, prompt=None):
        return np.array([[text.count(c) + 0.1 for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts], dtype=np.float32)


def lines(file: Path, rows: list[dict]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def scored(count: int, shift: int = 0) -> list[dict]:
    return [
        {"sentence1": f"a {WORDS[n % 10]} here", "sentence2": f"the {WORDS[(2 * n + shift) % 10]}", "score": (3 * n) % 5}
        for n in range(count)
    ]


def main_of(spec: str) -> float:
    return next(iter(evaluate(Letters(), [spec]).main.values()))


def test_sts_on_a_folder_is_sts_on_the_file(tmp_path: Path) -> None:
    file = lines(tmp_path / "sts12-sts" / "test.jsonl", scored(12))
    spec = f"mteb:STS12?folder={file.parent}"
    record = evaluate(Letters(), [spec]).records[spec]
    assert record.main == "main_score" and record.details["metric"] == "cosine_spearman"
    assert record.metrics["main_score"] == pytest.approx(main_of(f"sts:{file}"), abs=1e-6)
    before = make_task(spec)
    assert before.task.metadata.dataset["path"] == "sts12-sts"  # and not the path of a machine
    lines(file, scored(12, shift=1))
    after = make_task(spec)
    assert before.fingerprint != after.fingerprint
    assert before.task.metadata.dataset["revision"] != after.task.metadata.dataset["revision"]
    (file.parent / ".cache").mkdir()
    (file.parent / ".cache" / "download.lock").write_text("x")
    assert make_task(spec).fingerprint == after.fingerprint


def test_classification_has_mtebs_protocol(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    folder = tmp_path / "banking77"
    for split, count in (("train", 60), ("test", 30)):
        rows = [{"text": f"{WORDS[n % 10]} {WORDS[n % 7]} {n}", "label": n % 3} for n in range(count)]
        lines(folder / f"{split}.jsonl", rows)
    found = main_of(f"mteb:Banking77Classification?folder={folder}")
    assert found == pytest.approx(main_of(f"classification:{folder}?seed=42"), abs=1e-6)
    (folder / "train.jsonl").unlink()
    with pytest.raises(
        InputError, match="banking77: lacks the split 'train' of mteb's Banking77Classification; copy the task's own"
    ):
        make_task(f"mteb:Banking77Classification?folder={folder}")


@pytest.mark.parametrize(("name", "ignored"), [("ArguAna", True), ("SCIDOCS", False)])
def test_retrieval_takes_a_beir_folder_and_leaves_out_what_mteb_leaves_out(tmp_path: Path, name: str, ignored: bool) -> None:
    folder = tmp_path / name
    lines(
        folder / "corpus.jsonl",
        [{"_id": f"d{n}", "title": word, "text": f"{word} {WORDS[n - 3]}"} for n, word in enumerate(WORDS)],
    )
    lines(folder / "queries.jsonl", [{"_id": f"d{n}", "text": f"about {WORDS[n]}"} for n in range(4)])
    (folder / "qrels").mkdir()
    rows = "".join(f"d{n}\td{n + 3}\t1\n" for n in range(4))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    found = main_of(f"mteb:{name}?folder={folder}")
    same, other = (main_of(f"retrieval:{folder}?ignore_identical_ids={said}") for said in ("true", "false"))
    assert same != other
    assert found == pytest.approx(same if ignored else other, abs=1e-5)


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        (
            "mteb:STS12?folder={}/none",
            SourceError,
            "no such folder; copy the data with: hf download mteb/sts12-sts --repo-type",
        ),
        ("mteb:STS12?folder={}/empty", InputError, "cannot be read as mteb's STS12"),
        ("mteb:STS12?folder={}/wrong", InputError, "lacks the column 'sentence1' in the split 'test' of mteb's STS12"),
        ("mteb:STS17?folder={}/wrong&subsets=en-en", InputError, "cannot be read as mteb's STS17"),
        ("mteb:STS17?folder={}/korean&subsets=en-en", InputError, "korean: lacks the part 'en-en' of mteb's STS17"),
        ("mteb:ArguAna?folder={}/wrong", InputError, "wrong"),
        ("mteb:STS12?folder={}&cache=c", InputError, "cache belongs to data from the hub"),
        ("mteb:CQADupstackRetrieval?folder={}/wrong", InputError, "joins CQADupstackAndroidRetrieval, "),
        ("mteb:subset15?folder={}", InputError, "name them one by one with folder=DIR"),
    ],
)
def test_other_data_is_one_line(tmp_path: Path, spec: str, kind: type[Exception], message: str) -> None:
    (tmp_path / "empty").mkdir()
    lines(tmp_path / "korean" / "test.jsonl", [{**row, "lang": "ko-ko"} for row in scored(4)])
    lines(tmp_path / "wrong" / "test.jsonl", [{"a": "x", "score": 1}, {"a": "y", "score": 2}])
    with pytest.raises(kind) as error:
        make_task(spec.format(tmp_path))
    assert message in str(error.value) and "\n" not in str(error.value)
