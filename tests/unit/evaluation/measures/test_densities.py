"""Cosine densities against a count by hand, and in the geometry task over any encoder."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

from bothways.errors import InputError
from bothways.evaluation.evaluate import evaluate
from bothways.evaluation.measures.densities import cosine_densities, gold_bins


def test_ranges_of_gold():
    assert gold_bins(np.array([0.2, 4.8])).tolist() == [0, 1, 2, 3, 4, 5]
    assert gold_bins(np.array([1.0, 5.0])).tolist() == pytest.approx([1, 1.8, 2.6, 3.4, 4.2, 5])
    assert gold_bins(np.array([0.0, 1.0])).tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    with pytest.raises(InputError, match="all are 3"):
        gold_bins(np.array([3.0, 3.0]))
    for broken in ([], [1.0, np.nan]):
        with pytest.raises(InputError, match="finite gold scores"):
            gold_bins(np.array(broken))


def test_counts_by_hand():
    rng = np.random.default_rng(0)
    # scores on inner edges too
    gold = rng.integers(0, 26, 500) / 5
    cosines = rng.uniform(-0.3, 1, 500)
    found = cosine_densities(cosines, gold, resolution=12)
    assert list(found) == ["0-1", "1-2", "2-3", "3-4", "4-5"]
    edges = found["0-1"]["edges"]
    assert edges[0] == pytest.approx(cosines.min(), abs=1e-6)
    assert edges[-1] == pytest.approx(cosines.max(), abs=1e-6)
    for low, density in enumerate(found.values()):
        mine = [c for c, g in zip(cosines, gold) if low <= g < low + 1 or (low == 4 and g == 5)]
        step = (cosines.max() - cosines.min()) / 12
        counts = [0] * 12
        for cosine in mine:
            counts[min(int((cosine - cosines.min()) / step), 11)] += 1
        assert density["counts"] == counts
        assert density["edges"] == edges
        assert density["pairs"] == sum(counts) == len(mine)
        assert density["mean"] == pytest.approx(np.mean(mine), abs=1e-6)
        assert density["deviation"] == pytest.approx(np.std(mine), abs=1e-6)


def test_empty_ranges_and_cosines_that_are_all_alike():
    found = cosine_densities(np.ones(3), np.array([0.0, 0.5, 5.0]))
    assert [density["pairs"] for density in found.values()] == [2, 0, 0, 0, 1]
    assert found["1-2"]["mean"] is None
    assert sum(found["0-1"]["counts"]) == 2
    json.dumps(found, allow_nan=False)
    with pytest.raises(InputError, match="one gold score for each cosine"):
        cosine_densities(np.ones(3), np.ones(2))


@pytest.fixture
def pairs(tmp_path):
    words = [f"w{i}" for i in range(30)]
    rng = np.random.default_rng(1)
    rows = []
    for score in rng.integers(0, 26, 80) / 5:
        first, other = rng.choice(words, 6), rng.choice(words, 6)
        kept = round(score / 5 * 6)  # the share of common words is the score
        rows.append({"s1": " ".join(first), "s2": " ".join([*first[:kept], *other[kept:]]), "score": score})
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path, words, rows


def test_a_sentence_transformer_has_a_geometry(pairs):
    folder, words, rows = pairs
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = np.random.default_rng(0).standard_normal((len(words), 32)).astype(np.float32)
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")
    spec = f"geometry:{folder}?split=dev&first=s1&second=s2&positive_above=3.5"
    record = evaluate(model, spec).records[spec]
    assert record.details["positive_pairs"] == sum(row["score"] > 3.5 for row in rows)
    densities = record.details["densities"]
    assert sum(density["pairs"] for density in densities.values()) == len(rows)
    means = [density["mean"] for density in densities.values()]
    assert means == sorted(means)  # more common words, higher cosine
    a, b = (model.encode([row[side] for row in rows]).astype(float) for side in ("s1", "s2"))
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    top = [c for c, row in zip(cosines, rows) if row["score"] >= 4]
    assert densities["4-5"]["mean"] == pytest.approx(np.mean(top), abs=1e-6)
