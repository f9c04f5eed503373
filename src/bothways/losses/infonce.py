"""InfoNCE over in-batch columns: the loss of SimCSE and of LLM2Vec's unsupervised stage.

With s(a, b) = scale · cos(a, b), query i and the column y(i) that is its positive (SimCSE, arXiv
2104.08821, eq. 1, τ = 1 / scale; LLM2Vec's released code):

    ℓ_i = - log ( exp s(q_i, c_y(i)) / Σ_j exp s(q_i, c_j) )

It is one-directional: columns never become queries. The similarities (`cosine_logits`) and the
softmax over columns (`column_loss`) are separate functions, so that callers can add columns and
masks between them.

Letters: N queries, C columns, D embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bothways.losses.loss_sum import LossSum

SIMCSE_SCALE = 20.0
"""1 / τ with τ = 0.05, the best temperature of SimCSE's ablation (§6, table on τ).

LLM2Vec's SimCSE stage uses the same.
"""


def info_nce(
    query: Tensor, columns: Tensor, labels: Tensor, *, scale: float = SIMCSE_SCALE
) -> LossSum:
    """Sum over queries the negative log-probability of their positive column.

    Args:
        query: (N, D), any length. It is normalized here.
        columns: (C, D), any length: the positives of all queries. `gather_rows` adds those of other
            processes.
        labels: (N,) int64, column of each query's positive.
        scale: factor on the cosines, 1 / temperature. Positive.

    Returns:
        The sum over N, the count N, and the number of queries with the positive scored highest.
            Float32 under any autocast (float64 stays).
    """
    return column_loss(cosine_logits(query, columns, scale=scale), labels)


def cosine_logits(query: Tensor, columns: Tensor, *, scale: float) -> Tensor:
    """Compute the scaled cosines (N, C) of every query with every column, in float32 or wider."""
    # Autocast would run this product in bfloat16, with steps of 2⁻⁸ near cosine 1, that is 0.08 in
    # a logit at scale 20.
    with torch.autocast(query.device.type, enabled=False):
        return _unit(query) @ _unit(columns).T * scale


def column_loss(logits: Tensor, labels: Tensor) -> LossSum:
    """Sum the softmax cross-entropy over rows.

    Args:
        logits: (N, C). A column that a row must not see holds -inf.
        labels: (N,) int64.
    """
    total = F.cross_entropy(logits, labels, reduction="sum")
    correct = (logits.detach().argmax(-1) == labels).sum()
    return LossSum(total, labels.shape[0], correct)


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Compute the mean cosine () of the pairs (first[i], second[i]), both (N, D), without gradient.

    It is 1 if the two views of each text coincide.
    """
    with torch.no_grad(), torch.autocast(first.device.type, enabled=False):
        return (_unit(first) * _unit(second)).sum(-1).mean()


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=-1)
