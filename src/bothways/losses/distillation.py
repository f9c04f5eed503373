"""Distance from a teacher's scores of a row's own documents.

A reranker scores the positive and the hard negatives of a query. The student's cosines should have
the same distribution over them:

    KL_i = Σ_c t_ic (log t_ic - log p_ic)
    t_i = softmax(teacher scores / T)
    p_i = softmax(scale · cos)

The sum is over the row's own positive and own hard negatives (Hinton et al., arXiv 1503.02531,
applied to rankings as FlagEmbedding's fine-tuning does with `teacher_scores`). Its targets are a
teacher's scores, not labels, so false negatives do not need a mask here.

Letters: N rows, M hard negatives, C columns, K hard negatives of one row at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_ABSENT = -1


@dataclass(frozen=True)
class Distillation:
    """Weight and temperature of the teacher.

    Args:
        weight: factor on the divergence, relative to the contrastive loss. Positive.
        temperature: divides the teacher's scores. If None, `temperature_of` chooses it from all
            scores before the first step.
    """

    weight: float = 1.0
    temperature: float | None = None


@dataclass(frozen=True)
class Teacher:
    """A teacher's scores of this process's rows. NaN means that there is none.

    A row with a NaN among its own scores is left out.

    Args:
        positive: (N,) float.
        negative: (M,) float, in the order of the hard negatives.
    """

    positive: Tensor
    negative: Tensor

    def to(self, device: torch.device | str) -> Teacher:
        """Copy the scores to another device."""
        return replace(self, positive=self.positive.to(device), negative=self.negative.to(device))


def temperature_of(scores: Iterable[float], scale: float) -> float:
    """Choose the temperature for a teacher by the range of its scores.

    Cosines (all scores within [-1, 1]) get 1 / scale, so that a difference of cosines means the
    same to teacher and student. At temperature 1 the softmax of cosines .80, .60, .55 is .385,
    .315, .300, so a student that is right would be pushed to confuse the three. Other scores are
    logits, for example of a reranker, and get 1, as in FlagEmbedding's fine-tuning.

    Args:
        scores: all scores of the teacher. NaN is ignored.
        scale: factor on the student's cosines.
    """
    return 1 / scale if all(-1 <= score <= 1 for score in scores if not math.isnan(score)) else 1.0


def distillation(
    logits: Tensor, first: int, owner: Tensor | None, teacher: Teacher, options: Distillation
) -> Tensor:
    """Sum the divergence over rows, () with gradient. `options.weight` is not applied.

    Args:
        logits: (N, C), the student's scaled cosines, unmasked.
        first: column of row 0's positive. This process's positives start there, then its hard
            negatives follow.
        owner: (M,) int64, row of each hard negative, ascending. None if there are no hard
            negatives.
        teacher: its scores.
        options: holds the teacher's temperature.

    Raises:
        ValueError: if the temperature is None.
    """
    if options.temperature is None:
        raise ValueError(
            "distillation: temperature is None; give a number, or use temperature_of(all scores, scale)"
        )
    places = own_places(logits.shape[0], owner).to(logits.device)
    there = places != _ABSENT
    places = places.clamp_min(0)
    scores = torch.cat([teacher.positive, teacher.negative]).to(logits.dtype)[places]
    usable = ~(scores.isnan() & there).any(1)
    student = logits.gather(1, places + first)
    lowest = float("-inf")
    ours = student.masked_fill(~there, lowest).log_softmax(1).masked_fill(~there, 0.0)[usable]
    targets = (scores / options.temperature).masked_fill(~there, lowest)[usable]
    theirs = targets.log_softmax(1).masked_fill(~there[usable], 0.0)
    return (targets.softmax(1) * (theirs - ours)).sum()


def own_places(rows: int, owner: Tensor | None) -> Tensor:
    """Locate a row's own documents in [positives ; hard negatives], (N, 1 + K) int64.

    Ragged rows are filled with -1.
    """
    positives = torch.arange(rows)[:, None]
    if owner is None or owner.numel() == 0:
        return positives
    owner = owner.cpu()
    counts = torch.bincount(owner, minlength=rows)
    rank = torch.arange(owner.numel()) - (counts.cumsum(0) - counts)[owner]
    negatives = torch.full((rows, int(counts.max())), _ABSENT)
    negatives[owner, rank] = rows + torch.arange(owner.numel())
    return torch.cat([positives, negatives], dim=1)
