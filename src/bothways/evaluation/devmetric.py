"""One number by which training chooses its best checkpoint. The data is read once, when the metric is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bothways.errors import InputError
from bothways.evaluation.dev_prompt import instructed
from bothways.evaluation.registry import make_task
from bothways.evaluation.task import RunOptions, Task


@dataclass(frozen=True)
class DevMetric:
    """Call it with an encoder: the task's main metric, higher is better, never NaN.

    Attributes:
        task: what is measured; `task.main` names the metric, `task.fingerprint` the data.
        options: how encoders are run.
    """

    task: Task
    options: RunOptions

    @property
    def name(self) -> str:
        """For logs and metric files, e.g. `sts:dev.jsonl/spearman`."""
        return f"{self.task.name}/{self.task.main}"

    def __call__(self, encoder: Any) -> float:
        """Measure one encoder.

        Raises:
            InputError: the encoder returns vectors that are not finite.
        """
        return self.task.run(encoder, self.options).metrics[self.task.main]


def dev_metric(spec: str, *, rows: Sequence[Any] = (), batch_tokens: int | None = None, seed: int = 0) -> DevMetric:
    """The metric of a task specification, e.g. `sts:stsb/dev.jsonl` (Spearman) or `stdlib` (nDCG@10).

    Args:
        spec: as `evaluate` takes it.
        rows: of the stage. The one instruction that those of the metric's kind bring is the metric's prompt, see `dev_prompt`.
        batch_tokens: tokens of one encoding pass; None leaves it to the encoder.
        seed: of the metrics that draw at random.

    Raises:
        InputError: unknown or unreadable task, or one whose metric does not rank encoders (geometry).
    """
    task = make_task(instructed(spec, rows))
    if not task.higher_is_better:
        raise InputError(
            f"dev metric {spec!r}: {task.main} describes an encoder and cannot choose between two; use sts, retrieval or stdlib"
        )
    return DevMetric(task, RunOptions(batch_tokens=batch_tokens, show_progress_bar=False, seed=seed))
