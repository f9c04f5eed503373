"""Results survive the disk, and a broken file is refused in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bothways
from bothways.errors import InputError
from bothways.evaluation.inputs.beir_collection import Collection
from bothways.evaluation.results import Results
from bothways.evaluation.tasks.retrieval import Retrieval

PAIRS = [
    ("a cat sat", "a cat sat down", 4.6),
    ("a cat sat", "the stock fell", 0.2),
    ("the dog ran", "a dog ran off", 4.2),
    ("the dog ran", "prices of stock rose", 0.5),
    ("a bird sang", "a bird was heard", 3.1),
]


class Letters:
    """Counts letters: similar strings get similar vectors."""

    direction = "bidirectional"
    name = "letters"

    def encode(self, texts):
        return np.array([[text.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts], dtype=np.float32)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "dev.jsonl"
    path.write_text("".join(json.dumps({"sentence1": a, "sentence2": b, "score": s}) + "\n" for a, b, s in PAIRS))
    return path


@pytest.fixture
def collection():
    corpus = {"d1": "a cat sat on a mat", "d2": "stock prices rose", "d3": "bird song"}
    return Collection({"q": "cat on mat", "r": "prices"}, corpus, {"q": {"d1": 1}, "r": {"d2": 1}})


def test_results_are_a_mapping_that_survives_the_disk(pairs, collection, tmp_path):
    tasks = [f"sts:{pairs}", f"geometry:{pairs}", Retrieval(collection, name="toy")]
    results = bothways.evaluate(Letters(), tasks, seed=3)
    assert list(results) == [f"sts:{pairs}", f"geometry:{pairs}", "toy"]
    assert results.main["toy"] == results["toy"]["ndcg@10"] == 1.0
    assert results.main[f"sts:{pairs}"] == results[f"sts:{pairs}"]["spearman"] > 0.5
    model = results.provenance["model"]
    assert len(model.pop("fingerprint")) == 64
    assert model == {"class": "Letters", "name": "letters", "direction": "bidirectional"}
    assert results.provenance["seed"] == 3
    assert results.provenance["versions"]["numpy"] == np.__version__
    assert all(len(record.data) == 64 and record.seconds >= 0 for record in results.records.values())

    results.save(tmp_path / "out" / "results.json")
    assert Results.load(tmp_path / "out" / "results.json") == results
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.json"]


def test_broken_results_files_are_refused(tmp_path):
    path = tmp_path / "results.json"
    ours = '{"format": "bothways-results-1", '
    half = (
        f'{ours}"tasks": {{"a": {{"kind": "sts"}}}}}}',
        f'{ours}"tasks": {{}}}}',
        f'{ours}"tasks": {{}}, "provenance": null}}',
    )
    record = {"kind": "sts", "main": "a", "metrics": {"a": 1}, "details": {}, "data": "0", "seconds": 1}
    for field, value in (("details", None), ("options", []), ("data", None), ("seconds", "1"), ("metrics", {"a": 1, "b": "x"})):
        half += (f'{ours}"provenance": {{}}, "tasks": {{"a": {json.dumps({**record, field: value})}}}}}',)
    for content in ("{", "[]", '{"format": "other"}', *half):
        path.write_text(content)
        with pytest.raises(InputError, match=r"results\.json"):
            Results.load(path)
    with pytest.raises(InputError, match="no such file"):
        Results.load(tmp_path / "none.json")
