"""The return value of every loss: a sum and the count that divides it.

A mean per micro-batch would weigh the rows of a ragged batch differently under accumulation and
across processes. Sums add up, and the trainer divides once, by the count of the whole optimizer
step.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LossSum:
    """A loss summed over its labels. total / count and correct / count are the means.

    Args:
        total: () the summed loss in nats, float32 or wider, with gradient.
        count: number of labels in the sum.
        correct: () int64, number of labels with the highest score of their row.
    """

    total: Tensor
    count: int
    correct: Tensor
