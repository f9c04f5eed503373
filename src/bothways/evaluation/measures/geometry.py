"""The shape of a cloud of vectors: is it spread out, do pairs meet, how many directions does it use?

Functions of arrays only; `tasks/geometry.py` feeds them a pair file. Everything is computed in float64. Rows are scaled to
length 1 first (the measures are defined on the sphere), except in `spectrum` and `effective_rank`, which take a matrix as it
is.

Sources: alignment and uniformity, Wang & Isola 2020 (arXiv 2005.10242), as SimCSE uses them (arXiv 2104.08821); the normalised
spectrum, SimCSE's figure of singular values; effective rank, Roy & Vetterli 2007 (EUSIPCO, "The effective rank: a measure of
effective dimensionality"). Names: N vectors, D dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bothways.errors import InputError
from bothways.search.vectors import as_array, unit

_BLOCK = 1024


def alignment(first: np.ndarray, second: np.ndarray) -> float:
    """Mean squared distance of the N positive pairs, in [0, 4]; 0 when the two of each pair coincide.

    Raises:
        InputError: no pairs, or vectors that are not finite.
    """
    a, b = _unit(first), _unit(second)
    return float(((a - b) ** 2).sum(axis=1).mean())


def uniformity(vectors: np.ndarray, t: float = 2.0) -> float:
    """Log of the mean of exp(-t d²) over all pairs i < j, in [-4t, 0]; 0 when all coincide, lower is more spread out.

    Computed in blocks: memory is 1,024 · N numbers, not N².

    Args:
        vectors: (N, D), N ≥ 2; one row per distinct text, for a repeated text would count as a pair that coincides.
        t: sharpness; 2 as in both papers.

    Raises:
        InputError: fewer than two vectors, or vectors that are not finite.
    """
    unit = _unit(vectors, at_least=2)
    count = len(unit)
    # |a - b|² from the dot product; a zero vector has length 0, not 1, so the lengths are not taken for granted
    lengths = (unit**2).sum(axis=1)
    total = 0.0
    for start in range(0, count, _BLOCK):
        rows = unit[start : start + _BLOCK]
        squared = lengths[start : start + _BLOCK, None] + lengths[None, start:] - 2 * (rows @ unit[start:].T)
        # row i of the block is column i of the slice: what lies strictly above that diagonal is i < j
        total += float(np.triu(np.exp(-t * np.maximum(squared, 0)), k=1).sum())
    return float(np.log(total / (count * (count - 1) / 2)))


def mean_cosine(vectors: np.ndarray) -> float:
    """Mean cosine of all pairs i ≠ j, exactly and in O(N·D): |Σ x|² is the sum over all i, j. Near 1 means collapse.

    Raises:
        InputError: fewer than two vectors, or vectors that are not finite.
    """
    unit = _unit(vectors, at_least=2)
    total = unit.sum(axis=0)
    return float((total @ total - (unit**2).sum()) / (len(unit) * (len(unit) - 1)))


def mean_cosine_of_random_pairs(vectors: np.ndarray, pairs: int, generator: np.random.Generator) -> float:
    """Mean cosine of `pairs` pairs i ≠ j drawn with replacement: an estimate of `mean_cosine`, as papers report it.

    Raises:
        InputError: fewer than two vectors, no pairs, or vectors that are not finite.
    """
    if pairs < 1:
        raise InputError(f"mean cosine of random pairs needs at least one pair, got {pairs}")
    unit = _unit(vectors, at_least=2)
    first = generator.integers(0, len(unit), pairs)
    second = (first + generator.integers(1, len(unit), pairs)) % len(unit)
    return float(np.einsum("pd,pd->p", unit[first], unit[second]).mean())


def spectrum(matrix: np.ndarray) -> np.ndarray:
    """Singular values of the (N, D) matrix divided by the largest: (min(N, D),) descending, the first is 1.

    Raises:
        InputError: no rows, numbers that are not finite, or a matrix of zeros.
    """
    values = np.linalg.svd(_finite(matrix), compute_uv=False)
    if values[0] == 0:
        raise InputError("all vectors are zero; their spectrum is undefined")
    return values / values[0]


def effective_rank(matrix: np.ndarray) -> float:
    """Exp of the entropy of the singular values scaled to sum 1, in [1, min(N, D)]; D directions of equal weight give D.

    Raises:
        InputError: as `spectrum`.
    """
    shares = spectrum(matrix)
    shares = shares[shares > 0] / shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def collapse_watch(vectors: Any) -> dict[str, float]:
    """Two numbers that tell a collapsing encoder, cheap enough to take during training (a few hundred rows: milliseconds).

    Args:
        vectors: (N, D) array or tensor of random texts, N ≥ 2, of any length; scaled to length 1 here.

    Returns:
        `mean_cosine` of all pairs (towards 1 in a collapse) and `effective_rank` of the unit rows (towards 1).

    Raises:
        InputError: fewer than two vectors, or numbers that are not finite.
    """
    unit = _unit(as_array(vectors), at_least=2)
    return {"mean_cosine": mean_cosine(unit), "effective_rank": effective_rank(unit)}


def _unit(vectors: np.ndarray, at_least: int = 1) -> np.ndarray:
    return unit(_finite(vectors, at_least))


def _finite(vectors: np.ndarray, at_least: int = 1) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) < at_least:
        raise InputError(f"expected a (rows, dimensions) array of at least {at_least} rows, got shape {vectors.shape}")
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        raise InputError(f"vector {int(bad.argmax())} of {len(vectors)} holds NaN or infinity")
    return vectors
