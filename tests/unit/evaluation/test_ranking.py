"""Exact top-K: the same as sorting everything, whatever the blocks and however many scores tie."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bothways.errors import InputError
from bothways.evaluation import ranking as ranking_module
from bothways.evaluation.ranking import DenseRanker, TopK
from bothways.evaluation.task import RunOptions

DOCS, QUERIES = 203, 17


def ids(prefix, count):
    return {f"{prefix}{i}": f"{prefix} {i}" for i in np.random.default_rng(1).permutation(count)}


def naive(scores, doc_ids, depth):
    """Full sort by (score, id), both descending; scores (N,)."""
    order = sorted(range(len(doc_ids)), key=lambda i: (scores[i], doc_ids[i]), reverse=True)
    return [doc_ids[i] for i in order[:depth] if scores[i] > -np.inf]


@pytest.mark.parametrize("levels", [1, 3, 40, 10**6])  # from "all scores equal" to "hardly any tie"
@pytest.mark.parametrize("block", [7, 64, 500])
@pytest.mark.parametrize("depth", [1, 10, 500])
def test_blocks_and_ties_do_not_matter(levels, block, depth):
    rng = np.random.default_rng(levels)
    queries, corpus = ids("q", QUERIES), ids("d", DOCS)
    top = TopK(queries, corpus, depth=depth)
    scores = (rng.integers(0, levels, (QUERIES, DOCS)) / levels).astype(np.float32)
    scores[3, 5:] = -np.inf
    for start in range(0, DOCS, block):
        for first in range(0, QUERIES, 5):
            top.update(torch.from_numpy(scores[first : first + 5, start : start + block].copy()), first, start)
    found = top.ranking()
    for number in range(QUERIES):
        expected = naive(scores[number], found.doc_ids, depth)
        assert [found.doc_ids[i] for i in found.index[number] if i >= 0] == expected
    assert (found.scores[found.index < 0] == -np.inf).all()
    assert (found.scores[:, 1:] <= found.scores[:, :-1]).all()


class Signs:
    """Vectors of sixteen ±1: their length is 4, so every step to the cosine is exact in float32, and a great many cosines tie."""

    def encode(self, texts):
        return np.stack([np.random.default_rng(int(text.split()[1])).choice([-1.0, 1.0], 16) for text in texts])


@pytest.mark.parametrize("ignore", [False, True])
def test_dense_ranker_equals_a_full_sort(monkeypatch, ignore):
    monkeypatch.setattr(ranking_module, "_QUERY_BLOCK", 4)
    monkeypatch.setattr(ranking_module, "_DOCUMENT_BLOCK", 20)
    monkeypatch.setattr(ranking_module, "_ENCODE_CHUNK", 50)
    corpus = ids("d", DOCS)
    queries = {"d7": "d 7", **{f"x{i}": f"x {i}" for i in range(6)}, "d100": "d 100"}
    found = DenseRanker(Signs(), RunOptions()).rank(queries, corpus, depth=12, ignore_identical_ids=ignore)
    vectors = Signs().encode([corpus[doc] for doc in found.doc_ids])
    for number, (query, text) in enumerate(queries.items()):
        cosines = vectors @ Signs().encode([text])[0] / 16
        if ignore and query in corpus:
            cosines[found.doc_ids.index(query)] = -np.inf
        assert [found.doc_ids[i] for i in found.index[number]] == naive(cosines, found.doc_ids, 12)
        assert found.scores[number].tolist() == np.sort(cosines)[::-1][:12].tolist()
        assert (query in found.as_run()[query]) == (query in corpus and not ignore)


def test_documents_are_encoded_in_chunks_and_each_once(monkeypatch):
    monkeypatch.setattr(ranking_module, "_ENCODE_CHUNK", 50)
    calls = []

    class Watching(Signs):
        def encode_document(self, texts):
            calls.append(len(texts))
            return self.encode(texts)

    DenseRanker(Watching(), RunOptions()).rank({"q": "q 1"}, ids("d", DOCS), depth=3)
    assert max(calls) <= 50
    assert sum(calls) == DOCS


def test_bad_requests():
    with pytest.raises(InputError, match="0 documents for 1 queries"):
        TopK({"q": ""}, {}, depth=3)
    with pytest.raises(InputError, match="depth 0"):
        TopK({"q": ""}, {"d": ""}, depth=0)

    class TwoSizes:
        def encode_query(self, texts):
            return np.ones((len(texts), 3))

        def encode(self, texts):
            return np.ones((len(texts), 4))

    with pytest.raises(InputError, match="query vectors have 3 dimensions, documents 4"):
        DenseRanker(TwoSizes(), RunOptions()).rank({"q": "q"}, {"d": "d"}, depth=1)
