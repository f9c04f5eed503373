"""Distance from a teacher's scores of a row's own documents.

A reranker scores the positive and the hard negatives of a query; the student's cosines are to have the same distribution over them:

    KL_i = Σ_c t_ic (log t_ic - log p_ic),   t_i = softmax(teacher scores / T),   p_i = softmax(scale · cos)

over the row's own positive and own hard negatives (Hinton et al., arXiv 1503.02531, on rankings as FlagEmbedding's fine-tuning does it
with `teacher_scores`). It stands apart from the contrastive loss because its targets are a teacher's, not labels: false negatives
need no mask here.

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
    """How the teacher counts.

    Args:
        weight: of the divergence beside the contrastive loss; positive.
        temperature: divides the teacher's scores. None: `temperature_of` decides from all scores, before the first step.
    """

    weight: float = 1.0
    temperature: float | None = None


@dataclass(frozen=True)
class Teacher:
    """Scores of this process's rows; NaN where there is none. A row with a NaN among its own takes no part.

    Args:
        positive: (N,) float.
        negative: (M,) float, in the order of the hard negatives.
    """

    positive: Tensor
    negative: Tensor

    def to(self, device: torch.device | str) -> Teacher:
        """The same on another device."""
        return replace(self, positive=self.positive.to(device), negative=self.negative.to(device))


def temperature_of(scores: Iterable[float], scale: float) -> float:
    """Choose the temperature for a teacher by the range of its scores.

    Cosines (all scores within [-1, 1]) get 1 / scale, so that teacher and student mean the same by a difference of cosines. At 1 the
    softmax of cosines .80, .60, .55 is .385, .315, .300: a student that is right would be pushed to confuse the three. Other scores are
    logits, of a reranker for example, and get 1, as in FlagEmbedding's fine-tuning.

    Args:
        scores: all of the teacher's; NaN is passed over.
        scale: factor on the student's cosines.
    """
    return 1 / scale if all(-1 <= score <= 1 for score in scores if not math.isnan(score)) else 1.0


def distillation(logits: Tensor, first: int, owner: Tensor | None, teacher: Teacher, options: Distillation) -> Tensor:
    """Sum over rows of the divergence, () with gradient; options.weight is not applied.

    Args:
        logits: (N, C), the student's scaled cosines, unmasked.
        first: column of row 0's positive; this process's positives stand there, then its hard negatives.
        owner: (M,) int64, row of each hard negative, ascending; None for none.
        teacher: its scores.
        options: the teacher's temperature.

    Raises:
        ValueError: the temperature is not settled.
    """
    if options.temperature is None:
        raise ValueError("distillation: no temperature; take temperature_of(all scores, scale), or give one")
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
    """(N, 1 + K) int64: where a row's own documents stand in [positives ; hard negatives]; -1 fills ragged rows."""
    positives = torch.arange(rows)[:, None]
    if owner is None or owner.numel() == 0:
        return positives
    owner = owner.cpu()
    counts = torch.bincount(owner, minlength=rows)
    rank = torch.arange(owner.numel()) - (counts.cumsum(0) - counts)[owner]
    negatives = torch.full((rows, int(counts.max())), _ABSENT)
    negatives[owner, rank] = rows + torch.arange(owner.numel())
    return torch.cat([positives, negatives], dim=1)
