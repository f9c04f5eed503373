"""Geometry against brute force over all pairs in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bothways.errors import InputError
from bothways.evaluation.measures import geometry


@pytest.fixture
def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    # unequal lengths and a common direction, as decoders have them
    return rng.standard_normal((57, 11)) * rng.uniform(0.1, 30, (57, 1)) + 2.0


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def all_pairs(x):
    return [(x[i], x[j]) for i in range(len(x)) for j in range(i + 1, len(x))]


def test_alignment(vectors):
    a, b = unit(vectors[:20]), unit(vectors[20:40])
    brute = sum(math.dist(p, q) ** 2 for p, q in zip(a, b)) / 20
    assert geometry.alignment(vectors[:20], vectors[20:40]) == pytest.approx(brute, abs=1e-12)
    assert geometry.alignment(vectors, 7 * vectors) == pytest.approx(0, abs=1e-28)  # squares of rounding errors
    assert geometry.alignment(vectors, -vectors) == pytest.approx(4, abs=1e-12)


@pytest.mark.parametrize("block", [1, 8, 56, 1024])
def test_uniformity(vectors, block, monkeypatch):
    monkeypatch.setattr(geometry, "_BLOCK", block)
    brute = math.log(np.mean([math.exp(-2 * math.dist(p, q) ** 2) for p, q in all_pairs(unit(vectors))]))
    assert geometry.uniformity(vectors) == pytest.approx(brute, abs=1e-12)


def test_uniformity_of_identical_and_of_opposite_vectors():
    assert geometry.uniformity(np.tile([[3.0, 1.0, 2.0]], (9, 1))) == pytest.approx(0, abs=1e-12)
    assert geometry.uniformity(np.array([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(-8, abs=1e-12)


def test_mean_cosine(vectors):
    brute = np.mean([p @ q for p, q in all_pairs(unit(vectors))])
    assert geometry.mean_cosine(vectors) == pytest.approx(brute, abs=1e-12)
    with_zero = np.concatenate([unit(vectors), np.zeros((1, 11))])
    assert geometry.mean_cosine(with_zero) == pytest.approx(np.mean([p @ q for p, q in all_pairs(with_zero)]), abs=1e-12)


def test_mean_cosine_of_random_pairs(vectors):
    x = unit(vectors)
    cosines = [p @ q for p, q in all_pairs(x)]
    drawn = geometry.mean_cosine_of_random_pairs(vectors, 40_000, np.random.default_rng(3))
    # five standard errors of a mean of 40,000 draws
    assert drawn == pytest.approx(np.mean(cosines), abs=5 * np.std(cosines) / 200)
    assert drawn == geometry.mean_cosine_of_random_pairs(vectors, 40_000, np.random.default_rng(3))
    # never a vector with itself: two opposite vectors leave only the pair of cosine -1
    assert geometry.mean_cosine_of_random_pairs(np.array([[1.0], [-1.0]]), 50, np.random.default_rng(0)) == -1.0


def test_spectrum(vectors):
    found = geometry.spectrum(vectors)
    eigenvalues = np.sort(np.linalg.eigvalsh(vectors.T @ vectors))[::-1]
    assert found[0] == 1.0
    # squaring the matrix halves the digits of its small singular values
    assert found == pytest.approx(np.sqrt(eigenvalues / eigenvalues[0]), abs=1e-7)


def test_effective_rank(vectors):
    values = np.linalg.svd(vectors, compute_uv=False)
    shares = [value / sum(values) for value in values]
    assert geometry.effective_rank(vectors) == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-12)
    assert geometry.effective_rank(5 * np.eye(6)) == pytest.approx(6, rel=1e-12)
    assert geometry.effective_rank(np.outer([1, 2, 3], [1, 1])) == pytest.approx(1, abs=1e-12)


def test_collapse_watch_tells_a_collapse():
    rng = np.random.default_rng(0)
    healthy = torch.from_numpy(rng.standard_normal((64, 32)))
    collapsed = 1e-3 * healthy + 5
    before, after = geometry.collapse_watch(healthy), geometry.collapse_watch(collapsed.to(torch.float32))
    assert before["mean_cosine"] == pytest.approx(geometry.mean_cosine(healthy.float().numpy()), abs=1e-12)
    assert abs(before["mean_cosine"]) < 0.05
    assert before["effective_rank"] > 20
    assert after["mean_cosine"] > 0.999
    assert after["effective_rank"] < 1.2


def test_what_has_no_geometry(vectors):
    broken = vectors.copy()
    broken[5, 2] = np.nan
    with pytest.raises(InputError, match="vector 5 of 57 holds NaN"):
        geometry.uniformity(broken)
    with pytest.raises(InputError, match="at least 2 rows"):
        geometry.collapse_watch(vectors[:1])
    with pytest.raises(InputError, match="all vectors are zero"):
        geometry.spectrum(np.zeros((3, 2)))
    with pytest.raises(InputError, match="at least one pair"):
        geometry.mean_cosine_of_random_pairs(vectors, 0, np.random.default_rng(0))
