"""Exact top-K: the same as sorting everything, whatever the blocks and however many scores tie."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bothways.errors import InputError
from bothways.search import dense as dense_module
from bothways.search import ranker as ranker_module
from bothways.search.ranker import DenseRanker, RunningRanking
from bothways.similarity import similarity_of
from bothways.similarity_names import SIMILARITIES

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
    top = RunningRanking(queries, corpus, depth=depth)
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
    """Vectors of sixteen ±1: their length is 4, so every step to the cosine is exact in float32,
    and a great many cosines tie.
    """

    def encode(self, texts):
        return np.stack([np.random.default_rng(int(text.split()[1])).choice([-1.0, 1.0], 16) for text in texts])


@pytest.mark.parametrize("backend", ["exact", "faiss"])
@pytest.mark.parametrize("ignore", [False, True])
def test_dense_ranker_equals_a_full_sort(monkeypatch, ignore, backend):
    if backend == "faiss":
        pytest.importorskip("faiss", reason="faiss is not installed (pip install 'bothways[mine]')")
    monkeypatch.setattr(dense_module, "QUERY_TILE", 4)
    monkeypatch.setattr(dense_module, "DOCUMENT_BLOCK", 20)
    monkeypatch.setattr(ranker_module, "ENCODE_CHUNK", 50)
    corpus = ids("d", DOCS)
    queries = {"d7": "d 7", **{f"x{i}": f"x {i}" for i in range(6)}, "d100": "d 100"}
    found = DenseRanker(Signs(), backend=backend).rank(queries, corpus, depth=12, ignore_identical_ids=ignore)
    vectors = Signs().encode([corpus[doc] for doc in found.doc_ids])
    for number, (query, text) in enumerate(queries.items()):
        cosines = vectors @ Signs().encode([text])[0] / 16
        if ignore and query in corpus:
            cosines[found.doc_ids.index(query)] = -np.inf
        assert [found.doc_ids[i] for i in found.index[number]] == naive(cosines, found.doc_ids, 12)
        assert found.scores[number].tolist() == np.sort(cosines)[::-1][:12].tolist()
        assert (query in found.as_run()[query]) == (query in corpus and not ignore)


class Lengths:
    """Vectors of different lengths, compared as the attribute says."""

    def __init__(self, similarity_fn_name=None):
        self.similarity_fn_name = similarity_fn_name

    def encode(self, texts):
        rng = [np.random.default_rng(int(text.split()[1])) for text in texts]
        return np.stack([each.uniform(0.3, 3) * each.normal(size=8) for each in rng]).astype(np.float32)


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_dense_ranker_follows_the_encoder(monkeypatch, kind):
    """The order and the scores are those of sentence-transformers' `similarity`."""
    monkeypatch.setattr(ranker_module, "ENCODE_CHUNK", 50)
    corpus, queries = ids("d", DOCS), {f"x{i}": f"x {i + 1000}" for i in range(6)}
    found = DenseRanker(Lengths(kind)).rank(queries, corpus, depth=40)
    texts = [corpus[doc] for doc in found.doc_ids]
    theirs = similarity_of(Lengths().encode(list(queries.values())), Lengths().encode(texts), kind).numpy()
    for number in range(len(queries)):
        assert found.index[number].tolist() == np.argsort(-theirs[number], kind="stable")[:40].tolist()
        assert found.scores[number] == pytest.approx(np.sort(theirs[number])[::-1][:40], abs=2e-5)
    plain = DenseRanker(Lengths()).rank(queries, corpus, depth=40)
    assert (plain.index.tolist() == found.index.tolist()) == (kind == "cosine")
    chosen = DenseRanker(Lengths("manhattan"), similarity=kind).rank(queries, corpus, depth=40)
    assert chosen.index.tolist() == found.index.tolist()


class Copies:
    """Random vectors, of which many documents have the same one: their scores tie, wherever a
    document stands.
    """

    def encode(self, texts):
        return np.stack([np.random.default_rng(int(text.split()[1]) % 29).normal(size=67) for text in texts])


@pytest.mark.parametrize("backend", ["exact", "faiss"])
@pytest.mark.parametrize("chunk", [13, 50, 1000])
def test_equal_vectors_tie_whatever_the_chunk_and_backend(monkeypatch, chunk, backend):
    """Scores of plain float32 products would differ in the last bit from block to block."""
    if backend == "faiss":
        pytest.importorskip("faiss", reason="faiss is not installed (pip install 'bothways[mine]')")
    monkeypatch.setattr(ranker_module, "ENCODE_CHUNK", chunk)
    monkeypatch.setattr(dense_module, "DOCUMENT_BLOCK", 11)
    corpus, queries = ids("d", DOCS), ids("q", QUERIES)
    found = DenseRanker(Copies(), backend=backend).rank(queries, corpus, depth=30)
    vectors = Copies().encode([corpus[doc] for doc in found.doc_ids]).astype(np.float32)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float64)
    for number, text in enumerate(queries.values()):
        query = Copies().encode([text])[0].astype(np.float32)
        scores = (vectors @ (query / np.linalg.norm(query[None], axis=1)).astype(np.float64)).astype(np.float32)
        assert [found.doc_ids[i] for i in found.index[number]] == naive(scores, found.doc_ids, 30)


def test_documents_are_encoded_in_chunks_and_each_once(monkeypatch):
    monkeypatch.setattr(ranker_module, "ENCODE_CHUNK", 50)
    calls = []

    class Watching(Signs):
        def encode_document(self, texts):
            calls.append(len(texts))
            return self.encode(texts)

    DenseRanker(Watching()).rank({"q": "q 1"}, ids("d", DOCS), depth=3)
    assert max(calls) <= 50
    assert sum(calls) == DOCS


def test_bad_requests():
    with pytest.raises(InputError, match="0 documents for 1 queries"):
        RunningRanking({"q": ""}, {}, depth=3)
    with pytest.raises(InputError, match="depth 0"):
        RunningRanking({"q": ""}, {"d": ""}, depth=0)

    class TwoSizes:
        def encode_query(self, texts):
            return np.ones((len(texts), 3))

        def encode(self, texts):
            return np.ones((len(texts), 4))

    with pytest.raises(InputError, match="query vectors have 3 dimensions, document vectors 4"):
        DenseRanker(TwoSizes()).rank({"q": "q"}, {"d": "d"}, depth=1)
