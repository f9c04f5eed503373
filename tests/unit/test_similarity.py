"""Similarities are those of sentence-transformers, in float64 and by every name, and bounds of errors hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bothways.errors import InputError
from bothways.similarity import as_nearness, cosine_similarity, nearness, noise, pair_scores, prepared, scores, similarity_of
from bothways.similarity_names import SIMILARITIES, Similarity, similarity_name

A, B = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)


def by_hand(a: np.ndarray, b: np.ndarray, kind: Similarity) -> np.ndarray:
    """Every pair by itself, in float64."""
    a, b = a.astype(np.float64)[:, None], b.astype(np.float64)[None]
    found: np.ndarray = {
        "cosine": (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1),
        "dot": (a * b).sum(-1),
        "euclidean": -np.linalg.norm(a - b, axis=-1),
        "manhattan": -np.abs(a - b).sum(-1),
    }[kind]
    return found


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_by_hand_in_float64(kind: Any) -> None:
    right = by_hand(A, B, kind)
    for vectors in (A, torch.tensor(A), list(A)):
        assert np.abs(similarity_of(vectors, B, kind).numpy() - right).max() < 1e-5
    assert np.abs(similarity_of(A, B, kind, pairwise=True).numpy() - right.diagonal()).max() < 1e-5
    assert similarity_of(A[0], B, kind).shape == (1, 5)
    double = scores(prepared(A.astype(np.float64), kind), prepared(B.astype(np.float64), kind), kind)
    assert double.dtype == np.float64 and np.abs(double - right).max() < 1e-11
    assert np.abs(pair_scores(A, B, kind) - right.diagonal()).max() < 1e-11


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_scores_are_those_of_sentence_transformers(kind: Any) -> None:
    from sentence_transformers import SimilarityFunction

    theirs = SimilarityFunction.to_similarity_fn(kind)(torch.tensor(A), torch.tensor(B)).numpy()
    assert np.abs(scores(prepared(A, kind), prepared(B, kind), kind) - theirs).max() < 1e-5


def test_cosines() -> None:
    assert torch.allclose(cosine_similarity(A, B), similarity_of(A, B, "cosine"))


@pytest.mark.parametrize("kind", SIMILARITIES)
@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
def test_errors_of_float32_are_bounded(kind: Any, size: float) -> None:
    """Long vectors that hardly differ, which products and squares in float32 tell apart worst."""
    rng = np.random.default_rng(1)
    shared = rng.normal(size=64)
    queries, documents = ((size * (shared + 0.05 * rng.normal(size=(n, 64)))).astype(np.float32) for n in (7, 400))
    queries, documents = prepared(queries, kind), prepared(documents, kind)
    near = nearness(torch.from_numpy(queries), torch.from_numpy(documents), kind).numpy()
    exact = as_nearness(scores(queries, documents, kind), kind)
    longest = float(np.linalg.norm(documents, axis=1).max())
    bound = noise(kind, np.linalg.norm(queries, axis=1), longest, np.abs(exact).min(axis=1))
    assert (np.abs(near - exact).max(axis=1) < bound).all()


def test_equal_vectors_have_equal_scores_at_any_place() -> None:
    documents = np.tile(np.random.default_rng(2).normal(size=37) * 40, (1003, 1)).astype(np.float32)
    for kind in SIMILARITIES:
        assert len(set(scores(documents[:1] + 1, documents, kind)[0])) == 1
        assert len(set(pair_scores(documents, documents + 1, kind))) == 1


class Names:
    def __init__(self, name: Any) -> None:
        self.similarity_fn_name = name


def test_the_encoder_names_its_similarity_and_the_caller_may_choose() -> None:
    from sentence_transformers import SimilarityFunction

    assert similarity_name(len) == similarity_name(Names(None)) == "cosine"
    for kind in SIMILARITIES:
        assert similarity_name(Names(kind)) == similarity_name(Names(SimilarityFunction(kind))) == kind
        assert similarity_name(Names("dot"), kind) == similarity_name(Names("jaccard"), kind) == kind
    with pytest.raises(InputError, match="similarity: 'jaccard' is unknown; choose one of cosine, dot, euclidean, manhattan"):
        similarity_name(Names("jaccard"))
    with pytest.raises(InputError, match="similarity: 'euclidian' is unknown; did you mean 'euclidean'"):
        similarity_name(Names("dot"), "euclidian")
