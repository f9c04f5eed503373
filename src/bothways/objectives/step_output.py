"""The result of an objective's step, and the sum of several.

A step covers one micro-batch. An optimizer step, and a reading of the held-out loss, cover several:
`StepTotals` adds them up, and divides once at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class StepOutput:
    """The loss and the metrics of one micro-batch.

    Attributes:
        loss_sum: () the summed loss, detached and unscaled.
        count: number of labels or rows in the sum, as `Objective.count` gives it.
        metrics: means over the count by name, () and detached, for example {"accuracy": 0.4}.
    """

    loss_sum: Tensor
    count: int
    metrics: Mapping[str, Tensor | float] = field(default_factory=dict)


@dataclass
class StepTotals:
    """The sums of several step outputs.

    Attributes:
        loss_sum: the summed loss.
        count: the summed count.
        metrics: each metric times the count of its batch, summed, by name.
    """

    loss_sum: float = 0.0
    count: int = 0
    metrics: dict[str, float] = field(default_factory=dict)

    def add(self, output: StepOutput) -> None:
        """Add the output of one more micro-batch."""
        self.loss_sum += float(output.loss_sum)
        self.count += output.count
        for name, mean in output.metrics.items():
            self.metrics[name] = self.metrics.get(name, 0.0) + float(mean) * output.count
