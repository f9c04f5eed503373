"""Distances of a student's vectors from a teacher's, of the same texts in one batch.

    cosine         Σ_i 1 - cos(z_i, t_i)
    mse            Σ_i |z_i - t_i|² / D                     (Reimers & Gurevych, arXiv 2004.09813)
    similarities   Σ_i 1/(C-1) Σ_{j≠i} (cos(z_i, z_j) - cos(t_i, t_j))²
                   (relational distillation, arXiv 1904.05068)
    scores         Σ_i KL( softmax_j cos(t_i, t_j) / T  ‖  softmax_j cos(z_i, z_j) / T ),  j ≠ i
                   (SEED, arXiv 2101.04731, with the batch in place of its queue)

The first two need vectors of one width, the others do not. Columns j are the texts of all
processes. If the teacher or the student states another similarity (see `similarity_scores`), the
last two have its scores in place of cosines.

Letters: N texts of this process, C texts of all, D and E widths.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bothways.losses.gather import gather_rows
from bothways.losses.similarity_scores import similarity_scores
from bothways.similarity_names import Similarity

DISTILLATION_TEMPERATURE = 0.05
"""Divides cosines of both sides, as SimCSE's does. A difference means the same to both."""


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Sum 1 - cosine over texts, () with gradient. Both are (N, D)."""
    with torch.autocast(student.device.type, enabled=False):
        return (1 - F.cosine_similarity(_wide(student), _wide(teacher), dim=-1)).sum()


def squared_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Sum the mean squared difference of the numbers over texts, (). Both are (N, D)."""
    with torch.autocast(student.device.type, enabled=False):
        return (_wide(student) - _wide(teacher)).square().mean(-1).sum()


def similarity_distance(
    student: Tensor, teacher: Tensor, *, similarity: Similarity = "cosine"
) -> Tensor:
    """Sum over texts the mean squared difference of their scores with the other texts, ().

    Args:
        student: (N, D).
        teacher: (N, E).
        similarity: how both are compared.
    """
    mine, theirs, itself = _matrices(student, teacher, (similarity, similarity))
    others = max(1, mine.shape[1] - 1)
    return (mine - theirs).square().masked_fill(itself, 0.0).sum() / others


def score_divergence(
    student: Tensor,
    teacher: Tensor,
    temperature: float = DISTILLATION_TEMPERATURE,
    *,
    teacher_temperature: float | None = None,
    similarities: tuple[Similarity, Similarity] = ("cosine", "cosine"),
) -> Tensor:
    """Sum over texts the divergence of their distributions over the other texts, ().

    Args:
        student: (N, D).
        teacher: (N, E).
        temperature: divides the scores of the student.
        teacher_temperature: divides the scores of the teacher. If None, as the student's.
        similarities: how the student's and the teacher's vectors are compared.
    """
    known_temperature = temperature if teacher_temperature is None else teacher_temperature
    mine, theirs, itself = _matrices(student, teacher, similarities)
    if mine.shape[1] < 2:
        return mine.sum() * 0.0
    lowest = float("-inf")
    ours = (mine / temperature).masked_fill(itself, lowest).log_softmax(1).masked_fill(itself, 0.0)
    logits = (theirs / known_temperature).masked_fill(itself, lowest)
    known = logits.log_softmax(1).masked_fill(itself, 0.0)
    return (logits.softmax(1) * (known - ours)).sum()


def _matrices(
    student: Tensor, teacher: Tensor, similarities: tuple[Similarity, Similarity]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return both matrices of scores (N, C), and the places of the texts themselves (N, C)."""
    mine, theirs = gather_rows(student), gather_rows(teacher)
    count = torch.arange(len(mine.rows), device=student.device)
    itself = count == (torch.arange(len(student), device=student.device) + mine.offset)[:, None]
    return (
        similarity_scores(student, mine.rows, similarities[0]),
        similarity_scores(teacher, theirs.rows, similarities[1]),
        itself,
    )


def _wide(vectors: Tensor) -> Tensor:
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))
