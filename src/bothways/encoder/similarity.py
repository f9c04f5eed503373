"""Cosine similarity of numpy arrays, of tensors on any device, or of lists of either."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
