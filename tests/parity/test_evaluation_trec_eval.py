"""Our ranking measures against trec_eval itself (pytrec_eval), with graded judgments and with
scores that tie.
"""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
import torch

from bothways.evaluation.inputs.beir_collection import read_beir
from bothways.evaluation.measures.ranking import measure_ranking
from bothways.search.ranker import DenseRanker, Ranking, RunningRanking

pytrec_eval = pytest.importorskip("pytrec_eval", reason="pytrec_eval is not installed (pip install pytrec-eval-terrier)")
CUTS = (1, 3, 5, 10, 100)
NAMES = {"ndcg": "ndcg_cut", "recall": "recall", "map": "map_cut"}


def compare(ranking: Ranking, qrels: dict[str, dict[str, int]]) -> None:
    """Every query and every mean, to 1e-6 (trec_eval's own output carries four decimals, the
    library all of float64).
    """
    wanted = {f"{name}.{','.join(map(str, CUTS))}" for name in NAMES.values()}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, wanted).evaluate(ranking.as_run())
    means, values = measure_ranking(ranking, qrels, dict.fromkeys(("ndcg", "recall", "map", "mrr"), CUTS))
    judged = [query for query in ranking.query_ids if query in qrels]
    assert set(theirs) == set(judged)
    for name, their_name in NAMES.items():
        for cut in CUTS:
            expected = np.array([theirs[query][f"{their_name}_{cut}"] for query in judged])
            assert np.abs(values[f"{name}@{cut}"] - expected).max() < 1e-6, (name, cut)
            assert means[f"{name}@{cut}"] == pytest.approx(expected.mean(), abs=1e-6)
    for cut in CUTS:  # trec_eval's recip_rank of the run cut at rank k, in its own order of ties
        run = {
            query: dict(sorted(docs.items(), key=lambda item: (item[1], item[0]), reverse=True)[:cut])
            for query, docs in ranking.as_run().items()
        }
        reciprocal = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(run)
        assert means[f"mrr@{cut}"] == pytest.approx(np.mean([reciprocal[query]["recip_rank"] for query in judged]), abs=1e-6)


@pytest.mark.parametrize("levels", [1, 4, 30, 10**6])  # from "all scores equal" to "hardly any tie"
@pytest.mark.parametrize("seed", range(3))
def test_graded_judgments_and_ties(levels, seed):
    rng = np.random.default_rng(seed)
    corpus = {f"d{i}": "" for i in range(300)}
    queries = {f"q{i}": "" for i in range(25)}
    top = RunningRanking(queries, corpus, depth=120)
    top.update(torch.from_numpy((rng.integers(0, levels, (25, 300)) / levels).astype(np.float32)), 0, 0)
    qrels = {query: {f"d{i}": int(rng.integers(-1, 4)) for i in rng.choice(300, 12, replace=False)} for query in queries}
    for query in qrels:
        qrels[query]["missing"] = 2  # relevant, and not in the corpus
    compare(top.ranking(), qrels)


class Words:
    """A bag of hashed words: crude, deterministic, and equal for equal texts."""

    def encode(self, texts: list[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                vectors[row, hashlib.md5(word.encode()).digest()[0] % 64] += 1
        return np.sign(vectors)  # few different values: cosines tie


@pytest.mark.shared
def test_scifact(shared):
    data = read_beir(shared / "scifact")
    ranking = DenseRanker(Words()).rank(data.queries, data.corpus, depth=1000)
    assert ranking.index.shape == (300, 1000)
    compare(ranking, data.qrels)
    value = measure_ranking(ranking, data.qrels)[0]["ndcg@10"]
    assert 0.005 < value < 0.5, "neither nothing nor everything was found; otherwise the comparison says little"
