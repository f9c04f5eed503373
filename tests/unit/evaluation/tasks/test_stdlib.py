"""Retrieval over the standard library of the running Python."""

from __future__ import annotations

import numpy as np
import pytest

from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.inputs.beir_collection import Collection
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks import stdlib
from bothways.evaluation.tasks.retrieval import Retrieval
from bothways.search.bm25_ranker import BM25
from unit.evaluation.vectors import Written, written

OPTIONS = RunOptions()


DOCS, QUERIES = 500, 40


def collection(seed: int = 0) -> Collection:
    rng = np.random.default_rng(seed)
    corpus = {f"d{i:03d}": text for i, text in enumerate(written(rng.standard_normal((DOCS, 8))))}
    queries = {f"q{i:03d}": text for i, text in enumerate(written(rng.standard_normal((QUERIES, 8))))}
    qrels = {query: {f"d{i:03d}": int(rng.integers(0, 3)) for i in rng.choice(DOCS, 5, replace=False)} for query in queries}
    return Collection(queries, corpus, {**qrels, "q000": {"d001": 1}})


def test_the_task_of_the_standard_library_follows_the_encoder(monkeypatch):
    """It remembers vectors by a wrapper, which must not hide the encoder's similarity."""
    data = collection()
    monkeypatch.setattr(stdlib, "retrieval_task", lambda: stdlib.RetrievalTask(data.queries, data.corpus, data.qrels))
    encoder = Written()
    plain = stdlib.Stdlib().run(Written(), OPTIONS)
    encoder.similarity_fn_name = "manhattan"
    found = stdlib.Stdlib().run(encoder, OPTIONS)
    assert found.metrics == make_task("stdlib?similarity=manhattan").run(Written(), OPTIONS).metrics
    assert (
        found.metrics["ndcg@10"]
        == Retrieval(data, name="r").run(encoder, OPTIONS).metrics["ndcg@10"]
        != plain.metrics["ndcg@10"]
    )


def test_stdlib_task_runs_on_this_python():
    pytest.importorskip("bm25s", reason="bm25s is not installed (pip install 'bothways[eval]')")
    results = evaluate(BM25(), "stdlib")
    assert results.records["stdlib"].kind == "stdlib"
    # names and descriptions share words: a lexical ranker that found less would be broken, and one
    # that found all would be leaking
    assert 0.2 < results.main["stdlib"] < 0.98
