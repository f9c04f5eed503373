"""The result of an objective's step, and the sum of several.

A step covers one micro-batch. An optimizer step, and a reading of the held-out loss, cover several:
`StepTotals` adds them up, and divides once at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class StepOutput(Mapping[str, "Tensor | float"]):
    """The loss and the metrics of one micro-batch.

    It reads as the mapping that `Objective.step` gave before, too: `output["loss_sum"]`,
    `output["count"]`, and each metric by its name.

    Attributes:
        loss_sum: () the summed loss, detached and unscaled.
        count: number of labels or rows in the sum, as `Objective.count` gives it.
        metrics: means over the count by name, () and detached, for example {"accuracy": 0.4}.
    """

    loss_sum: Tensor
    count: int
    metrics: Mapping[str, Tensor | float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor | float:
        """Return the summed loss, the count or a metric."""
        return {"loss_sum": self.loss_sum, "count": self.count, **self.metrics}[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names: the loss and the count first."""
        return iter(("loss_sum", "count", *self.metrics))

    def __len__(self) -> int:
        """Return the number of names."""
        return 2 + len(self.metrics)


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
