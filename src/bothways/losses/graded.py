"""Losses for pairs with a graded similarity, as in STS: only the order of the scores counts.

CoSENT (Su 2022, https://kexue.fm/archives/8847; Huang et al. 2024, doi 10.1109/TASLP.2024.3402087)
compares every two pairs of a batch that have different labels:

    L = log ( 1 + Σ_{label_i > label_j} exp ( s(j) - s(i) ) )        s = scale · cos

AnglE (arXiv 2309.12871, eq. 8) is the same formula with another similarity. A vector is read as
D / 2 complex numbers, its first half the real parts and its second half the imaginary parts, and
the quotient of the two texts' numbers takes the place of the cosine (`angle_similarity`).

Letters: N pairs, D embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GRADED_SCALE = 20.0
"""Factor on the similarities: CoSENT's and AnglE's code use 20."""


def cosent(similarities: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
    """Compute the loss of one batch of pairs, () with gradient.

    Args:
        similarities: (N,), already scaled, for example 20 · cosine. Float32 or wider.
        labels: (N,) gold scores, on any scale.
        groups: (N,) int64. Only pairs of one group are compared, because the scores of two data
            sets may have different scales. If None, all pairs are compared.

    Returns:
        The loss. It is 0 if no two labels differ.
    """
    higher = labels[:, None] > labels[None, :]
    if groups is not None:
        higher = higher & (groups[:, None] == groups[None, :])
    differences = (similarities[None, :] - similarities[:, None])[higher]
    return torch.cat([differences.new_zeros(1), differences]).logsumexp(0)


def pair_cosines(first: Tensor, second: Tensor) -> Tensor:
    """Compute the cosine (N,) of each pair of vectors (N, D), in float32 or wider."""
    with torch.autocast(first.device.type, enabled=False):
        return (_unit(first) * _unit(second)).sum(-1)


def angle_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Compute AnglE's similarity (N,) of each pair of vectors (N, D), in float32 or wider.

    With z and w the complex numbers of the two texts, it is | Σ Re(q) + Im(q) | of the normalized
    quotient q = z w* / (|z| |w|), as in AnglE's code. An odd D is filled with a zero.
    """
    with torch.autocast(first.device.type, enabled=False):
        one, two = _unit(first), _unit(second)
        if one.shape[1] % 2:
            one, two = F.pad(one, (0, 1)), F.pad(two, (0, 1))
        (a, b), (c, d) = one.chunk(2, dim=1), two.chunk(2, dim=1)
        return (a * c + b * d + b * c - a * d).sum(-1).abs()


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=-1)
