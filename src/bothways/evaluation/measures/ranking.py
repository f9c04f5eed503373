"""Measures of a ranking against relevance judgments, by trec_eval's conventions.

Functions use no encoder and no file. g_r is the grade of the document at rank r (0 if unjudged or
negative), R the number of documents of grade ≥ 1, and k the cutoff:

    DCG@k     Σ_{r≤k} g_r / log2(r + 1)
              linear gain as in trec_eval's ndcg_cut, not the 2^g - 1 of web search
    nDCG@k    DCG@k / DCG@k of the best possible order of all judged documents
    recall@k  |relevant in the first k| / R
    MRR@k     1 / rank of the first relevant document, 0 if it is below k
    MAP@k     (1/R) Σ_{r≤k, relevant} precision@r
              divided by R, not by min(R, k), as in trec_eval's map_cut

nDCG is from Järvelin & Kekäläinen 2002, with gain and discount as in trec_eval 9. All measures are
in float64 and in [0, 1]. A judged query counts in every mean. It counts with 0 if it does not have
a relevant document or if nothing was found for it (trec_eval -c). An unjudged query never counts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bothways.errors import InputError
from bothways.search.ranker import Ranking

Qrels = Mapping[str, Mapping[str, int]]

CUTOFFS: dict[str, tuple[int, ...]] = {
    "ndcg": (10, 100),
    "recall": (1, 5, 10, 100),
    "mrr": (10,),
    "map": (100,),
}
DEPTH = max(cut for cuts in CUTOFFS.values() for cut in cuts)


def measure_ranking(
    ranking: Ranking, qrels: Qrels, cutoffs: Mapping[str, tuple[int, ...]] = CUTOFFS
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Measure a ranking.

    Args:
        ranking: a ranking as deep as the largest cutoff, or as the corpus.
        qrels: `{query: {document: grade}}`, for example `{"q1": {"d7": 2, "d9": 0}}`. As in
            trec_eval, a relevant document counts in R even if it is not in the corpus.
        cutoffs: cutoffs by measure, for example `{"ndcg": (10,), "recall": (5, 100)}`. The measures
            are "ndcg", "recall", "mrr" and "map".

    Returns:
        The means over the judged queries, `{"ndcg@10": mean, …}`, and the values `{"ndcg@10": (J,),
        …}` of the J judged queries, in the order of the ranking.

    Raises:
        InputError: if no judged query has a relevant document, or if the ranking is too shallow.
    """
    deepest = max(cut for cuts in cutoffs.values() for cut in cuts)
    if ranking.index.shape[1] < min(deepest, len(ranking.doc_ids)):
        raise InputError(
            f"the ranking has {ranking.index.shape[1]} documents per query; a cutoff of {deepest} needs more"
        )
    judged = [
        (qrels[query], row)
        for query, row in zip(ranking.query_ids, ranking.index)
        if query in qrels
    ]
    if not any(grade > 0 for grades, _ in judged for grade in grades.values()):
        raise InputError(
            f"none of the {len(ranking.query_ids)} queries has a relevant document; check that judgments and queries use the same ids"
        )
    per_query: dict[str, list[float]] = {
        f"{name}@{cut}": [] for name, cuts in cutoffs.items() for cut in cuts
    }
    for grades, row in judged:
        ideal = np.array(
            sorted((grade for grade in grades.values() if grade > 0), reverse=True),
            dtype=np.float64,
        )
        gains = np.array(
            [max(grades.get(ranking.doc_ids[i], 0), 0) for i in row if i >= 0], dtype=np.float64
        )
        for name, cuts in cutoffs.items():
            for cut in cuts:
                value = _MEASURES[name](gains, ideal, cut) if len(ideal) else 0.0
                per_query[f"{name}@{cut}"].append(value)
    values = {name: np.array(column) for name, column in per_query.items()}
    return {name: float(column.mean()) for name, column in values.items()}, values


def _dcg(gains: np.ndarray, cut: int) -> float:
    gains = gains[:cut]
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())


def _ndcg(gains: np.ndarray, ideal: np.ndarray, cut: int) -> float:
    return _dcg(gains, cut) / _dcg(ideal, cut)


def _recall(gains: np.ndarray, ideal: np.ndarray, cut: int) -> float:
    return float((gains[:cut] > 0).sum() / len(ideal))


def _mrr(gains: np.ndarray, ideal: np.ndarray, cut: int) -> float:
    ranks = np.flatnonzero(gains[:cut] > 0)
    return 1.0 / float(ranks[0] + 1) if len(ranks) else 0.0


def _map(gains: np.ndarray, ideal: np.ndarray, cut: int) -> float:
    ranks = np.flatnonzero(gains[:cut] > 0) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).sum() / len(ideal))


_MEASURES = {"ndcg": _ndcg, "recall": _recall, "mrr": _mrr, "map": _map}
