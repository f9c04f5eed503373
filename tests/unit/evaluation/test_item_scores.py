"""Scores by item in results: they give the metric back, hold the worst texts, and stay small."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.inputs.beir_collection import Collection
from bothways.evaluation.item_scores import CHARACTERS, MOST, TEXTS, pair_items, shorten, value_items
from bothways.evaluation.results import Record, Results
from bothways.evaluation.tasks.retrieval import Retrieval
from bothways.evaluation.tasks.sts import STS, spearman


class Letters:
    def encode(self, texts):
        return np.array([[text.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts], dtype=np.float32) + 0.01


@pytest.fixture
def pairs(tmp_path):
    rng = np.random.default_rng(0)
    words = ["cat", "dog", "stock", "price", "rain", "river", "song"]
    rows = []
    for i in range(40):
        a, b = (" ".join(rng.choice(words, 4)) for _ in range(2))
        rows.append({"sentence1": a, "sentence2": b, "score": float(rng.integers(0, 6)), "subset": "xy"[i % 2]})
    path = tmp_path / "dev.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_sts_items_give_the_metric_back(pairs):
    record = evaluate(Letters(), STS(pairs, name="dev")).records["dev"]
    items = record.details["items"]
    assert spearman(items["predicted"], items["gold"]) == pytest.approx(record.metrics["spearman"], abs=1e-6)
    assert "groups" not in items
    entry = items["texts"][3]
    row = [json.loads(line) for line in pairs.read_text().splitlines()][entry["item"]]
    assert (entry["first"], entry["second"]) == (row["sentence1"], row["sentence2"])


def test_sts_items_keep_the_groups_that_an_average_needs(pairs):
    record = evaluate(Letters(), STS(pairs, name="dev", aggregation="mean")).records["dev"]
    items = record.details["items"]
    groups, predicted, gold = (np.array(items[key]) for key in ("groups", "predicted", "gold"))
    parts = [spearman(predicted[groups == g], gold[groups == g]) for g in (0, 1)]
    assert items["weighting"] == "mean"
    assert np.mean(parts) == pytest.approx(record.metrics["spearman"], abs=1e-6)


def test_retrieval_items_are_the_queries_in_their_order():
    corpus = {"d1": "a cat sat on a mat", "d2": "stock prices rose", "d3": "bird song"}
    data = Collection(
        {"p": "unjudged", "q": "cat on mat", "r": "birds sang stock"}, corpus, {"q": {"d1": 1}, "r": {"d3": 1, "d2": 0}}
    )
    record = evaluate(Letters(), Retrieval(data, name="toy")).records["toy"]
    items = record.details["items"]
    assert np.mean(items["values"]) == pytest.approx(record.metrics["ndcg@10"], abs=1e-7)
    first, second = items["texts"]
    assert first == {"item": 0, "query": "cat on mat", "relevant": corpus["d1"], "found": corpus["d1"]}
    assert (second["query"], second["relevant"]) == ("birds sang stock", "bird song")


def test_the_worst_items_have_their_texts():
    gold = np.arange(500.0)
    predicted = gold.copy()
    wrong = np.arange(7, 500, 10)
    predicted[wrong] = -predicted[wrong]
    lost = np.abs(predicted.argsort().argsort() - gold.argsort().argsort())
    texts = pair_items(predicted, gold, lambda i: {"first": f"{i}", "second": ""})["items"]["texts"]
    kept = [entry["item"] for entry in texts]
    assert kept == sorted(kept)
    assert len(kept) == TEXTS
    assert min(lost[kept]) >= max(np.delete(lost, kept))
    values = np.linspace(0, 1, 400)
    kept = [entry["item"] for entry in value_items(values, lambda i: {"query": "q"})["items"]["texts"]]
    assert kept == list(range(TEXTS))


def test_texts_are_cut_to_one_line():
    assert shorten("a  b\n\tc") == "a b c"
    assert shorten("x" * CHARACTERS) == "x" * CHARACTERS
    cut = shorten("word " * 1_000_000)
    assert len(cut) <= CHARACTERS
    assert cut.endswith("…")


def test_a_results_file_stays_small_and_lists_take_a_line(tmp_path):
    rng = np.random.default_rng(0)
    predicted, gold = rng.random(MOST), rng.random(MOST).round(2)
    details = pair_items(predicted, gold, lambda i: {"first": "é" * 900, "second": "y" * 900})
    path = tmp_path / "results.json"
    results = Results({"sts:[\n1,\n2\n]": Record("sts", "spearman", {"spearman": 0.1}, details, "0" * 64, 1.0)}, {})
    results.save(path)
    assert path.stat().st_size < 2_000_000 / 5
    assert Results.load(path) == results
    text = path.read_text(encoding="utf-8")
    assert re.search(r'"predicted": \[[-\d., e]+\]', text)
    assert len(text.splitlines()) < 10 * TEXTS
    assert pair_items(np.zeros(MOST + 1), np.zeros(MOST + 1), lambda i: {}) == {}
    assert value_items(np.zeros(MOST + 1), lambda i: {}) == {}


def test_neighbours_that_the_score_tells_apart_stay_apart():
    from bothways.report.bootstrap import read_items

    rng = np.random.default_rng(0)
    gold = rng.permutation(80) / 8
    close = (0.5 + 1e-9 * rng.permutation(80)).round(12)
    kept = pair_items(close, gold, lambda i: {})
    assert read_items(kept, spearman(close, gold)) is not None
