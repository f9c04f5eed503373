"""Mines new hard negatives with the model in training, every so many steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bothways.mining.refresher import Refresher
from bothways.training.hooks.hook import Hook, Moment
from bothways.training.loop.metrics import MetricsLog
from bothways.training.loop.optimizer_step import Stepper
from bothways.training.parallel.sharding import is_sharded
from bothways.training.stage.negative_refresh import FILE, refresh


@dataclass(kw_only=True)
class NegativeRefresh(Hook):
    """Replaces the stepper's examples after each refresh. Each later checkpoint holds the rows.

    It runs before the hooks that save, so a checkpoint of the same step has the new rows.
    """

    refresher: Refresher
    stepper: Stepper
    folder: Path
    log: MetricsLog

    def after_step(self, moment: Moment) -> None:
        """Mine if a refresh is due. None happens after the last step."""
        if moment.last or not self.refresher.due(moment.step):
            return
        encoder = self.stepper.encoder
        values = refresh(
            self.refresher,
            moment.step,
            encoder,
            self.stepper.accelerator,
            self.folder,
            sharded=is_sharded(encoder),
        )
        self._take_over()
        if values:
            self.log.write(moment.step, values)
        encoder.train()

    def write(self, folder: Path, step: int) -> None:
        """Add the rows of the last refresh."""
        if step >= self.refresher.every:
            self.refresher.write(folder / FILE)

    def read(self, folder: Path, step: int) -> None:
        """Take over the rows of the last refresh before the checkpoint."""
        if step >= self.refresher.every:
            self.refresher.read(folder / FILE)
            self._take_over()

    def _take_over(self) -> None:
        self.stepper.examples = self.stepper.objective.prepare(
            self.refresher.examples, self.stepper.encoder
        )
