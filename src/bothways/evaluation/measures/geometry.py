"""The shape of a cloud of vectors: how spread out it is, and how many directions it uses.

Functions take arrays only. `tasks/geometry.py` feeds them a pair file. Everything is computed in
float64. Rows are first scaled to length 1, because the measures are defined on the sphere.
`spectrum` and `effective_rank` take a matrix as it is.

Sources: alignment and uniformity, Wang & Isola 2020 (arXiv 2005.10242), as SimCSE uses them (arXiv
2104.08821). The normalized spectrum is SimCSE's figure of singular values. Effective rank: Roy &
Vetterli 2007 (EUSIPCO, "The effective rank: a measure of effective dimensionality"). Letters: N
vectors, D dimensions.
"""

from __future__ import annotations

import numpy as np

from bothways.errors import InputError
from bothways.search.vectors import as_array
from bothways.similarity import unit

_BLOCK = 1024


def alignment(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the mean squared distance of the N positive pairs, in [0, 4].

    It is 0 if the two vectors of each pair coincide.

    Raises:
        InputError: if there are no pairs, or if vectors are not finite.
    """
    a, b = _unit(first), _unit(second)
    return float(((a - b) ** 2).sum(axis=1).mean())


def uniformity(vectors: np.ndarray, t: float = 2.0) -> float:
    """Compute the log of the mean of exp(-t d²) over all pairs i < j, in [-4t, 0].

    It is 0 if all vectors coincide. Lower is more spread out. The computation runs in blocks, so
    memory is 1,024 · N numbers, not N².

    Args:
        vectors: (N, D), N ≥ 2. Pass one row per distinct text, because a repeated text would count
            as a pair that coincides.
        t: sharpness. The default is 2, as in both papers.

    Raises:
        InputError: if there are fewer than two vectors, or if vectors are not finite.
    """
    unit = _unit(vectors, at_least=2)
    count = len(unit)
    # |a - b|² from the dot product. Lengths are computed because a zero vector has length 0, not 1.
    lengths = (unit**2).sum(axis=1)
    total = 0.0
    for start in range(0, count, _BLOCK):
        rows = unit[start : start + _BLOCK]
        squared = (
            lengths[start : start + _BLOCK, None]
            + lengths[None, start:]
            - 2 * (rows @ unit[start:].T)
        )
        # Row i of the block is column i of the slice, so i < j strictly above that diagonal.
        total += float(np.triu(np.exp(-t * np.maximum(squared, 0)), k=1).sum())
    return float(np.log(total / (count * (count - 1) / 2)))


def mean_cosine(vectors: np.ndarray) -> float:
    """Compute the mean cosine of all pairs i ≠ j, exactly and in O(N·D).

    |Σ x|² is the sum over all i, j. A mean near 1 is a sign of collapse.

    Raises:
        InputError: if there are fewer than two vectors, or if vectors are not finite.
    """
    unit = _unit(vectors, at_least=2)
    total = unit.sum(axis=0)
    return float((total @ total - (unit**2).sum()) / (len(unit) * (len(unit) - 1)))


def mean_cosine_of_random_pairs(
    vectors: np.ndarray, pairs: int, generator: np.random.Generator
) -> float:
    """Compute the mean cosine of `pairs` pairs i ≠ j drawn with replacement.

    This estimates `mean_cosine`, in the way that papers report it.

    Raises:
        InputError: if there are fewer than two vectors or no pairs, or if vectors are not finite.
    """
    if pairs < 1:
        raise InputError(f"mean cosine of random pairs needs at least one pair, got {pairs}")
    unit = _unit(vectors, at_least=2)
    first = generator.integers(0, len(unit), pairs)
    second = (first + generator.integers(1, len(unit), pairs)) % len(unit)
    return float(np.einsum("pd,pd->p", unit[first], unit[second]).mean())


def spectrum(matrix: np.ndarray) -> np.ndarray:
    """Compute the singular values of the (N, D) matrix divided by the largest.

    Returns:
        (min(N, D),) descending, so the first is 1.

    Raises:
        InputError: if there are no rows, if numbers are not finite, or if all are zero.
    """
    values = np.linalg.svd(_finite(matrix), compute_uv=False)
    if values[0] == 0:
        raise InputError("all vectors are zero; their spectrum is undefined")
    scaled: np.ndarray = values / values[0]
    return scaled


def effective_rank(matrix: np.ndarray) -> float:
    """Compute exp of the entropy of the singular values scaled to sum 1, in [1, min(N, D)].

    D directions of equal weight give D.

    Raises:
        InputError: see `spectrum`.
    """
    shares = spectrum(matrix)
    shares = shares[shares > 0] / shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def collapse_watch(vectors: object) -> dict[str, float]:
    """Compute two numbers that reveal a collapsing encoder.

    They are cheap enough to take during training (milliseconds for a few hundred rows).

    Args:
        vectors: (N, D) array or tensor of vectors of random texts, N ≥ 2. They are scaled to length
            1 here.

    Returns:
        `mean_cosine` of all pairs and `effective_rank` of the unit rows. Both approach 1 in a
        collapse.

    Raises:
        InputError: if there are fewer than two vectors, or if numbers are not finite.
    """
    unit = _unit(as_array(vectors), at_least=2)
    return {"mean_cosine": mean_cosine(unit), "effective_rank": effective_rank(unit)}


def _unit(vectors: np.ndarray, at_least: int = 1) -> np.ndarray:
    return unit(_finite(vectors, at_least))


def _finite(vectors: np.ndarray, at_least: int = 1) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) < at_least:
        raise InputError(
            f"expected a (rows, dimensions) array with at least {at_least} rows, got shape {vectors.shape}"
        )
    bad = ~np.isfinite(vectors).all(axis=1)
    if bad.any():
        raise InputError(f"vector {int(bad.argmax())} of {len(vectors)} holds NaN or infinity")
    return vectors
