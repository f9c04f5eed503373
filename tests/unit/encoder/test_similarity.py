"""Similarities are those of sentence-transformers, and an encoder follows the one that its folder names."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch

from bothways.encoder.similarity import Similarity, cosine_similarity, similarity_of

A, B = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)


@pytest.mark.parametrize("kind", get_args(Similarity))
def test_by_hand_in_float64(kind: Any) -> None:
    a, b = A.astype(np.float64)[:, None], B.astype(np.float64)[None]
    right = {
        "cosine": (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1),
        "dot": (a * b).sum(-1),
        "euclidean": -np.linalg.norm(a - b, axis=-1),
        "manhattan": -np.abs(a - b).sum(-1),
    }[kind]
    for vectors in (A, torch.tensor(A), list(A)):
        assert np.abs(similarity_of(vectors, B, kind).numpy() - right).max() < 1e-5
    assert np.abs(similarity_of(A, B, kind, pairwise=True).numpy() - right.diagonal()).max() < 1e-5
    assert similarity_of(A[0], B, kind).shape == (1, 5)


def test_cosines() -> None:
    assert torch.allclose(cosine_similarity(A, B), similarity_of(A, B, "cosine"))
