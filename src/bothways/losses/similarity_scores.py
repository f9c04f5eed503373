"""Scores of vectors by any similarity, with gradient: cosine, dot product, or minus a distance.

Losses compare by cosine, except for the vectors of a teacher or a student that states another
similarity. Higher is nearer, as in `bothways.similarity`, which has the same scores without
gradient.

Letters: N rows, C columns, D embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bothways.losses.infonce import cosine_logits
from bothways.similarity_names import Similarity


def similarity_scores(rows: Tensor, columns: Tensor, kind: Similarity) -> Tensor:
    """Compute the scores (N, C) of every row with every column, in float32 or wider.

    For example, `similarity_scores(queries, documents, "dot")`.

    Args:
        rows: (N, D), of any length.
        columns: (C, D), of any length.
        kind: cosine, dot, euclidean or manhattan. Distances are negative.
    """
    if kind == "cosine":
        return cosine_logits(rows, columns, scale=1.0)
    with torch.autocast(rows.device.type, enabled=False):
        wide = torch.promote_types(torch.promote_types(rows.dtype, columns.dtype), torch.float32)
        left, right = rows.to(wide), columns.to(wide)
        if kind == "dot":
            return left @ right.T
        # differences, because |a|² + |b|² - 2ab loses the digits of near vectors
        return -torch.cdist(
            left,
            right,
            p=2.0 if kind == "euclidean" else 1.0,
            compute_mode="donot_use_mm_for_euclid_dist",
        )
