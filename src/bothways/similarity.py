"""The similarity by which texts are ranked and compared: cosine, dot product, or a distance.

An encoder's folder names it (`similarity_fn_name`), as in sentence-transformers. Search, indexes,
serving, mining and evaluation all ask `similarity_names` for it, and take scores from this file.
Higher is nearer, so distances are negative.

A search over many documents first looks for candidates by float32 numbers (`nearness`). Their last
bits are noise, so it keeps a few more than it needs, and `scores` computes those again in float64.

Letters: q queries, n documents, D numbers of a vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bothways.similarity_names import Similarity

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NOISE = 1e-5
"""Error of a float32 score as a share of the numbers that it sums, with a wide margin."""
_DECIMALS = 12  # of scores below 10, see `rounded`
_BLOCK = 2**20  # numbers of one block of differences


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale rows (N, D) to length 1, in the dtype given.

    A row of zeros stays, so that its cosine with anything is 0.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)


def prepared(vectors: np.ndarray, kind: Similarity) -> np.ndarray:
    """Return vectors (N, D) as a search keeps them: of unit length for cosines, else unchanged."""
    return unit(vectors) if kind == "cosine" else vectors


def unit_or_own(kind: Similarity) -> bool | None:
    """Return `normalize_embeddings` of `Encoder.encode` for a kind.

    Cosines need unit vectors. Other kinds need the vectors as the encoder gives them, which is
    None.
    """
    return True if kind == "cosine" else None


def scores(queries: np.ndarray, documents: np.ndarray, kind: Similarity) -> np.ndarray:
    """Compute the scores (q, n) float64 of prepared vectors (q, D) and (n, D).

    For example, `scores(prepared(a, kind), prepared(b, kind), kind)` equals sentence-transformers'
    `similarity` up to the rounding of float32.
    """
    left, right = queries.astype(np.float64), documents.astype(np.float64)
    if kind in ("cosine", "dot"):
        found: np.ndarray = left @ right.T
    else:
        found = np.empty((len(left), len(right)))
        block = max(1, _BLOCK // max(1, right.shape[1]))
        for first in range(0, len(right), block):
            part = right[first : first + block]
            for row, query in enumerate(left):
                found[row, first : first + block] = _minus_distance(part - query, kind)
    for row in range(len(found)):
        found[row] = rounded(found[row])
    return found


def pair_scores(first: np.ndarray, second: np.ndarray, kind: Similarity) -> np.ndarray:
    """Compute the score of row i with row i: two arrays (N, D), not prepared, give (N,) float64.

    The cosine is 0 if a vector is zero. Scores are rounded far below the precision of float32
    vectors, see `rounded`. A sentence paired with itself has cosine 1, and all such pairs must
    share a rank.
    """
    a, b = (prepared(side.astype(np.float64), kind) for side in (first, second))
    if kind in ("cosine", "dot"):
        return rounded(np.einsum("nd,nd->n", a, b))
    return rounded(_minus_distance(a - b, kind))


def rounded(values: np.ndarray) -> np.ndarray:
    """Round scores of any size to 12 decimals, and to fewer if the largest is 10 or more.

    Equal vectors may be summed in another order at another place, and must have equal scores.
    """
    largest = float(np.abs(values).max(initial=1.0))
    result: np.ndarray = values.round(_DECIMALS - int(np.log10(largest)))
    return result


def nearness(queries: Tensor, documents: Tensor, kind: Similarity) -> Tensor:
    """Compute float32 numbers (q, n) that order documents as `scores` does, up to rounding.

    They are products, squared Euclidean distances (see `as_nearness`), or Manhattan distances. One
    matrix product gives the first two.
    """
    import torch

    if kind == "manhattan":
        return -torch.cdist(queries, documents, p=1)
    found = queries @ documents.T
    if kind == "euclidean":
        found = 2 * found - documents.square().sum(1) - queries.square().sum(1, keepdim=True)
    return found


def as_nearness(values: np.ndarray, kind: Similarity) -> np.ndarray:
    """Convert scores to the numbers that `nearness` gives for them."""
    return -np.square(values) if kind == "euclidean" else values


def noise(kind: Similarity, lengths: np.ndarray, longest: float, values: np.ndarray) -> np.ndarray:
    """Bound the error of `nearness` (q,) of each query.

    Args:
        kind: the similarity.
        lengths: (q,) lengths of the queries' vectors.
        longest: length of the longest document vector.
        values: (q,) numbers of `nearness`.
    """
    summed: np.ndarray = lengths * longest
    if kind == "manhattan":  # a sum without cancellation
        summed = np.abs(values)
    if kind == "euclidean":
        summed = np.square(lengths + longest)
    return NOISE * summed


def similarity_of(a: object, b: object, kind: Similarity, *, pairwise: bool = False) -> Tensor:
    """Compute similarities (n, m) float32 of two sets of vectors (n, D) and (m, D).

    For example, `similarity_of(queries, documents, "dot")`. A single vector counts as one row.

    Args:
        a: vectors: arrays, tensors on any device, or lists of either.
        b: vectors.
        kind: the function.
        pairwise: compare row i with row i only, which gives (n,).
    """
    if kind == "cosine" and not pairwise:
        return cosine_similarity(a, b)
    from sentence_transformers import SimilarityFunction

    choose = (
        SimilarityFunction.to_similarity_pairwise_fn
        if pairwise
        else SimilarityFunction.to_similarity_fn
    )
    found: Tensor = choose(kind)(_rows(a), _rows(b))
    return found


def cosine_similarity(a: object, b: object) -> Tensor:
    """Compute cosine similarities (n, m) float32 of two sets of vectors (n, D) and (m, D).

    For example, `cosine_similarity(queries, documents)[0].argmax()` is the best document of the
    first query. A single vector counts as one row.
    """
    from torch import nn

    left, right = (_rows(vectors) for vectors in (a, b))
    return nn.functional.normalize(left, dim=-1) @ nn.functional.normalize(right, dim=-1).T


def _rows(vectors: object) -> torch.Tensor:
    import torch

    if isinstance(vectors, (list, tuple)):
        vectors = torch.stack([torch.as_tensor(vector).detach().cpu() for vector in vectors])
    rows: Tensor = torch.atleast_2d(torch.as_tensor(vectors).detach().cpu().float())
    return rows


def _minus_distance(differences: np.ndarray, kind: Similarity) -> np.ndarray:
    """Compute minus the length (n,) of differences (n, D)."""
    order = 2 if kind == "euclidean" else 1
    found: np.ndarray = -np.linalg.norm(differences, ord=order, axis=1)
    return found
