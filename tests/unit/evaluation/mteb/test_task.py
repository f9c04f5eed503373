"""Scores of mteb's tasks: means of their parts, and those that are undefined."""

from __future__ import annotations

import numpy as np
import pytest

from bothways.evaluation.evaluate import evaluate

mteb = pytest.importorskip("mteb")


PAIRS = [("a cat sat", "a cat sat down", 4.6), ("a cat sat", "the stock fell", 0.2), ("the dog ran", "a dog ran off", 4.2),
         ("the dog ran", "prices rose", 0.5), ("a bird sang", "a bird was heard", 3.1)]  # fmt: skip


class Letters:
    name = "letters"

    def encode(self, texts, prompt=None):
        texts = [(prompt or "") + text for text in texts]
        return np.array([[text.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts], dtype=np.float32)


@pytest.fixture
def stsb(monkeypatch):
    """STSBenchmark and SICK-R with five pairs in the place of the hub's data."""
    from datasets import Dataset

    def load_data(self, **_):
        columns = dict(zip(("sentence1", "sentence2", "score"), map(list, zip(*PAIRS))))
        self.dataset = {"test": Dataset.from_dict(columns)}
        self.data_loaded = True

    for name in ("STSBenchmark", "SICK-R"):
        monkeypatch.setattr(type(mteb.get_task(name)), "load_data", load_data)


def test_an_aggregate_is_the_mean_of_its_forums(monkeypatch):
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    def load_data(self, **_):
        documents, queries = ["a cat sat", "stock prices", "bird song"], ["cat", "prices"]
        relevant = {"q0": {"d0": 1}, "q1": {"d1" if "Tex" not in self.metadata.name else "d2": 1}}
        self.dataset = {"default": {"test": {
            "corpus": Dataset.from_dict({"id": ["d0", "d1", "d2"], "text": documents}),
            "queries": Dataset.from_dict({"id": ["q0", "q1"], "text": queries}),
            "relevant_docs": relevant, "top_ranked": None}}}  # fmt: skip
        self.data_loaded = True

    monkeypatch.setattr(AbsTaskRetrieval, "load_data", load_data)
    found = evaluate(Letters(), "mteb:CQADupstackRetrieval")["mteb:CQADupstackRetrieval"]["main_score"]
    alone = [evaluate(Letters(), f"mteb:CQADupstack{forum}Retrieval") for forum in ("Tex", "Unix")]
    tex, unix = (next(iter(results.main.values())) for results in alone)
    assert tex < unix
    assert found == pytest.approx((11 * unix + tex) / 12, abs=1e-5)  # mteb rounds each forum to five decimals


def test_an_undefined_score_counts_as_nothing(stsb):
    class Collapsed:
        def encode(self, texts):
            return np.ones((len(texts), 3), dtype=np.float32)

    with pytest.warns(RuntimeWarning, match="STSBenchmark: the main score is undefined"):
        results = evaluate(Collapsed(), "mteb:STSBenchmark")
    assert results["mteb:STSBenchmark"] == {"main_score": 0.0}
