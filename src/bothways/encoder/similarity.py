"""Similarities of numpy arrays, of tensors on any device, or of lists of either."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]
"""Functions of sentence-transformers (`similarity_fn_name`). Distances are negative."""


def similarity_of(a: object, b: object, kind: Similarity, *, pairwise: bool = False) -> Tensor:
    """Compute similarities (n, m) float32 of two sets of vectors (n, D) and (m, D).

    For example, `similarity_of(queries, documents, "dot")`. A single vector counts as one row.

    Args:
        a: vectors.
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
    left, right = (_rows(vectors) for vectors in (a, b))
    return nn.functional.normalize(left, dim=-1) @ nn.functional.normalize(right, dim=-1).T


def _rows(vectors: object) -> Tensor:
    if isinstance(vectors, (list, tuple)):
        vectors = torch.stack([torch.as_tensor(vector).detach().cpu() for vector in vectors])
    rows: Tensor = torch.atleast_2d(torch.as_tensor(vectors).detach().cpu().float())
    return rows
