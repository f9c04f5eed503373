"""What every loss returns: a sum and the count that divides it.

A mean per micro-batch would weigh the rows of a ragged batch differently under accumulation and across processes. Sums add
up; the trainer divides once, by the count of the whole optimiser step.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LossSum:
    """A loss summed over its labels.

    Args:
        total: () the summed loss in nats, float32 or wider, with gradient.
        count: the labels in the sum.
        correct: () int64, labels whose score is the highest of their row; total / count and correct / count are the means.
    """

    total: Tensor
    count: int
    correct: Tensor
