"""The parts of a run that all its stages share."""

from __future__ import annotations

from dataclasses import dataclass

from accelerate import Accelerator

from bothways.training.loop.metrics import MetricsLog
from bothways.training.parallel.parallel_request import ParallelRequest
from bothways.training.stage.stage_data import GivenTexts


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """The processes, the log and the data in memory of a run.

    Attributes:
        accelerator: processes and devices.
        parallel: how the launcher wants a stage split over them.
        metrics: the run's metrics file.
        texts: data in memory, in place of the recipe's sources, or None.
        progress: show a bar. If None, only when it takes long.
    """

    accelerator: Accelerator
    parallel: ParallelRequest
    metrics: MetricsLog
    texts: GivenTexts
    progress: bool | None

    @property
    def main(self) -> bool:
        """True on the process that writes files."""
        return bool(self.accelerator.is_main_process)
