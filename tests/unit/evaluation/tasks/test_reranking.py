"""Reranking: MAP and MRR against a naive loop, both layouts, ties against the model, and who is
left out.
"""

from __future__ import annotations

import numpy as np
import pytest

from bothways.errors import InputError
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions
from bothways.evaluation.tasks.reranking import Candidates, Reranking
from bothways.similarity import similarity_of
from unit.evaluation.vectors import Written, write, written

OPTIONS = RunOptions()


def material(queries: int, seed: int) -> list[Candidates]:
    rng = np.random.default_rng(seed)
    texts = iter(written(rng.standard_normal((queries * 40, 5))))
    rows = []
    for _ in range(queries):
        right, wrong = int(rng.integers(0, 4)), int(rng.integers(0, 15))
        rows.append(Candidates(next(texts), [next(texts) for _ in range(right)], [next(texts) for _ in range(wrong)]))
    return rows


def naive(row: Candidates) -> tuple[float, float, float]:
    """Average precision, MRR@10 and nDCG@10 of one query, by full sort of its cosines."""
    unit = {text: v / np.linalg.norm(v) for text in (row.query, *row.positive, *row.negative) for v in Written().encode([text])}
    order = sorted([*row.positive, *row.negative], key=lambda text: -float(unit[row.query] @ unit[text]))
    hits = [text in row.positive for text in order]
    precision = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit]
    first = hits.index(True)
    gain = sum(1 / np.log2(i + 2) for i, hit in enumerate(hits[:10]) if hit)
    best = sum(1 / np.log2(i + 2) for i in range(min(len(precision), 10)))
    return float(np.mean(precision)), 1 / (first + 1) if first < 10 else 0.0, gain / best


def test_measures_equal_a_naive_loop():
    rows = material(60, 0)
    task = Reranking(rows)
    score = task.run(Written(), OPTIONS)
    kept = [row for row in rows if row.positive and row.negative]
    expected = np.array([naive(row) for row in kept])
    # float64 sums over the same order
    assert [score.metrics[name] for name in ("map", "mrr@10", "ndcg@10")] == pytest.approx(expected.mean(axis=0), abs=1e-12)
    assert score.details["items"]["values"] == pytest.approx(expected[:, 0], abs=1e-7)
    assert (score.details["queries"], score.details["queries_left_out"]) == (len(kept), 60 - len(kept))
    assert 0 < len(kept) < 60


class Named(Written):
    def __init__(self, kind: str | None) -> None:
        super().__init__()
        self.similarity_fn_name = kind


@pytest.mark.parametrize("kind", ["dot", "euclidean", "manhattan"])
def test_candidates_are_ordered_by_the_similarity_of_the_encoder_or_of_the_task(kind):
    rows = material(40, 1)
    found = Reranking(rows).run(Named(kind), OPTIONS)
    precisions = []
    for row in rows:
        if not (row.positive and row.negative):
            continue
        texts = [*row.negative, *row.positive]
        scores = similarity_of(Written().encode([row.query]), Written().encode(texts), kind)[0].numpy()
        order = np.argsort(-scores, kind="stable")
        hits = np.array([text in row.positive for text in texts])[order]
        precisions.append(np.mean([hits[: i + 1].mean() for i in np.flatnonzero(hits)]))
    assert found.metrics["map"] == pytest.approx(np.mean(precisions), abs=1e-12)
    assert found.details["similarity"] == kind
    chosen = Reranking(rows, similarity=kind)
    assert chosen.run(Written(), OPTIONS).metrics == found.metrics != Reranking(rows).run(Written(), OPTIONS).metrics
    assert chosen.settings["similarity"] == kind and "similarity" not in Reranking(rows).settings
    with pytest.raises(InputError, match="similarity: 'dott' is unknown; did you mean 'dot'"):
        Reranking(rows, similarity="dott")  # type: ignore[arg-type]


def test_keeping_queries_without_wrong_candidates():
    rows = [Candidates("1 0 |", ["0 1 |"], ["1 0 |"]), Candidates("1 0 |", ["1 1 |"]), Candidates("1 0 |", [], ["1 0 |"])]
    assert Reranking(rows).run(Written(), OPTIONS).metrics["map"] == 0.5
    assert Reranking(rows, all_right="keep").run(Written(), OPTIONS).metrics["map"] == 0.75
    with pytest.raises(InputError, match="none of the 2 queries has both"):
        Reranking(rows[1:], all_right="keep")


def test_a_model_that_cannot_tell_texts_apart_gains_nothing():
    same = Reranking([Candidates("1 1 |", ["2 2 | a"], ["2 2 | b", "2 2 | c", "2 2 | d"])]).run(Written(), OPTIONS)
    assert same.metrics["map"] == same.metrics["mrr@10"] == 0.25


def test_found_and_relevant_texts_stand_in_the_items():
    rows = [Candidates("1 0 |", ["1 0.1 | p"], ["0 1 | n"]), Candidates("0 1 |", ["1 0.1 | p"], ["0.1 1 | n", "1 0 | m"])]
    texts = Reranking(rows).run(Written(), OPTIONS).details["items"]["texts"]
    assert [(text["relevant"], text["found"]) for text in texts] == [("1 0.1 | p", "1 0.1 | p"), ("1 0.1 | p", "0.1 1 | n")]


def test_both_layouts_roles_and_prompts(tmp_path):
    rows = [row for row in material(20, 1) if row.positive and row.negative]
    listed = [{"query": r.query, "positive": r.positive, "negative": r.negative} for r in rows]
    labelled = [
        {"question": r.query, "answer": text, "label": int(text in r.positive)}
        for r in rows
        for text in [*r.negative[:1], *r.positive, *r.negative[1:]]
    ]
    one = make_task(f"reranking:{write(tmp_path / 'a.jsonl', listed)}")
    two = make_task(f"reranking:{write(tmp_path / 'd' / 'test.jsonl', labelled).parent}?query_prompt=Q: &document_prompt=")
    encoder = Written()
    scores = [one.run(Written(), OPTIONS), two.run(encoder, OPTIONS)]
    assert scores[0].metrics == scores[1].metrics
    assert one.fingerprint == two.fingerprint
    assert [call[:2] for call in encoder.calls] == [("query", "Q: "), ("document", "")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "a", "positive": ["b"]}, "row 1: no column for negative, such as 'neg'; name it with negative="),
        ({"query": "a", "positive": ["b"], "negative": [3]}, "row 1: column 'negative' holds a number \\(3\\), not a text"),
        ({"query": "a", "positive": None, "negative": []}, "row 1: column 'positive' must hold a text or a list"),
        ({"query": "a", "answer": "b", "label": 2}, r"row 1: column 'label' must be 0 or 1 \(got 2\)"),
        ({"query": "a", "label": 1}, "row 1: no column for candidate, such as 'document'"),
    ],
)
def test_broken_rows_are_named(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        make_task(f"reranking:{write(tmp_path / 'x.jsonl', [row])}")


@pytest.mark.shared
@pytest.mark.parametrize(("split", "right", "both"), [("test", 243, 237), ("dev", 126, 122)])
def test_wikiqa_counts_are_the_published_ones(shared, split, right, both):
    tasks = [make_task(f"reranking:{shared / 'wikiqa'}?split={split}&all_right={how}") for how in ("keep", "drop")]
    assert [len(task.queries) for task in tasks] == [right, both]
