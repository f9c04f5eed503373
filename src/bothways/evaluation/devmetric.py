"""The development metric: the number by which training chooses its best checkpoint.

The data is read once, when the metric is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bothways.errors import InputError
from bothways.evaluation.dev_prompt import instructed
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions, Task

if TYPE_CHECKING:
    from bothways.search.vectors import AnyEncoder


@dataclass(frozen=True)
class DevMetric:
    """A task as a function from an encoder to its main metric.

    Higher is better, and the value is never NaN.

    Attributes:
        task: the task. `task.main` names the metric, `task.fingerprint` the data.
        options: how encoders are run.
    """

    task: Task
    options: RunOptions

    @property
    def name(self) -> str:
        """Return the name for logs and metric files, for example `sts:dev.jsonl/spearman`."""
        return f"{self.task.name}/{self.task.main}"

    def __call__(self, encoder: AnyEncoder) -> float:
        """Measure one encoder.

        Raises:
            InputError: if the encoder returns vectors that are not finite.
        """
        return self.task.run(encoder, self.options).metrics[self.task.main]


def dev_metric(
    spec: str, *, rows: Sequence[Any] = (), batch_tokens: int | None = None, seed: int = 0
) -> DevMetric:
    """Make the metric of a task specification.

    For example, `sts:stsb/dev.jsonl` (Spearman) or `stdlib` (nDCG@10).

    Args:
        spec: the specification, as in `evaluate`.
        rows: training rows of the stage. If those of the metric's kind have one instruction, it
            becomes the metric's prompt, see `dev_prompt`.
        batch_tokens: tokens of one encoding pass. If None, the encoder decides.
        seed: seed of metrics that draw at random.

    Raises:
        InputError: if the task is unknown or unreadable, or if its metric does not rank encoders
            (geometry).
    """
    task = make_task(instructed(spec, rows))
    if not task.higher_is_better:
        raise InputError(
            f"dev metric {spec!r}: {task.main} describes an encoder and does not rank it; use sts, retrieval or stdlib"
        )
    return DevMetric(
        task, RunOptions(batch_tokens=batch_tokens, show_progress_bar=False, seed=seed)
    )
