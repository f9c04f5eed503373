"""Retrieval measures against a naive float64 implementation that knows nothing of ours."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bothways.errors import InputError
from bothways.evaluation.measures.ranking import measure_ranking
from bothways.search.ranker import Ranking


def ranking(lists: dict[str, list[str]], corpus: list[str]) -> Ranking:
    docs = tuple(sorted(corpus, reverse=True))
    width = max(map(len, lists.values()))
    index = np.array([[docs.index(d) for d in row] + [-1] * (width - len(row)) for row in lists.values()])
    scores = np.where(index >= 0, -np.arange(width, dtype=np.float32), -np.inf)
    return Ranking(tuple(lists), docs, index, scores)


def naive(ranked: list[str], judged: dict[str, int], k: int) -> dict[str, float]:
    relevant = [d for d, g in judged.items() if g > 0]
    if not relevant:
        return dict.fromkeys(("ndcg", "recall", "mrr", "map"), 0.0)
    dcg = sum(max(judged.get(d, 0), 0) / math.log2(r + 1) for r, d in enumerate(ranked[:k], start=1))
    best = sum(g / math.log2(r + 1) for r, g in enumerate(sorted((judged[d] for d in relevant), reverse=True)[:k], start=1))
    hits, precisions, first = 0, [], 0.0
    for r, d in enumerate(ranked[:k], start=1):
        if d in relevant:
            hits += 1
            first = first or 1 / r
            precisions.append(hits / r)
    return {"ndcg": dcg / best, "recall": hits / len(relevant), "mrr": first, "map": sum(precisions) / len(relevant)}


def test_by_hand():
    # grades 2, 0, 1 at ranks 1 to 3; another document of grade 1 is not found
    found = ranking({"q": ["a", "b", "c", "d"]}, list("abcde"))
    cutoffs = {"ndcg": (3,), "recall": (3,), "mrr": (3,), "map": (3,)}
    means, _ = measure_ranking(found, {"q": {"a": 2, "b": 0, "c": 1, "e": 1}}, cutoffs)
    ideal = 2 + 1 / math.log2(3) + 1 / 2
    assert means == pytest.approx({"ndcg@3": 2.5 / ideal, "recall@3": 2 / 3, "mrr@3": 1.0, "map@3": (1 + 2 / 3) / 3}, abs=1e-12)


def test_equals_the_naive_measures():
    rng = np.random.default_rng(0)
    corpus = [f"d{i}" for i in range(60)]
    lists = {f"q{i}": [str(d) for d in rng.permutation(corpus)[: rng.integers(0, 30)]] for i in range(40)}
    lists["q0"] = [str(d) for d in rng.permutation(corpus)]
    judged = [str(d) for d in [*corpus, "outside"]]
    qrels = {f"q{i}": {d: int(rng.integers(-1, 4)) for d in rng.choice(judged, 12, replace=False)} for i in range(35)}
    qrels["q5"] = dict.fromkeys(qrels["q5"], 0)  # judged, nothing relevant: counts as 0
    cutoffs = (1, 3, 10, 50)
    means, values = measure_ranking(ranking(lists, corpus), qrels, dict.fromkeys(("ndcg", "recall", "mrr", "map"), cutoffs))
    for k in cutoffs:
        reference = [naive(lists[query], qrels[query], k) for query in lists if query in qrels]
        for name in ("ndcg", "recall", "mrr", "map"):
            column = [row[name] for row in reference]
            assert values[f"{name}@{k}"] == pytest.approx(column, abs=1e-12)
            assert means[f"{name}@{k}"] == pytest.approx(sum(column) / 35, abs=1e-12)


def test_perfect_order_is_one_and_gain_is_linear():
    found = ranking({"q": ["a", "b", "c"]}, list("abc"))
    means, _ = measure_ranking(found, {"q": {"a": 3, "b": 2, "c": 1}}, {"ndcg": (10,), "map": (10,)})
    assert means == {"ndcg@10": 1.0, "map@10": 1.0}
    swapped, _ = measure_ranking(found, {"q": {"a": 1, "b": 3}}, {"ndcg": (2,)})
    assert swapped["ndcg@2"] == pytest.approx((1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)), abs=1e-12)


def test_what_cannot_be_measured():
    found = ranking({"q": ["a"]}, list("abc"))
    with pytest.raises(InputError, match="check that judgments and queries use the same ids"):
        measure_ranking(found, {"other": {"a": 1}}, {"ndcg": (1,)})
    with pytest.raises(InputError, match="the ranking has 1 documents per query"):
        measure_ranking(found, {"q": {"a": 1}})
