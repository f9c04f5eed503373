"""Reads the objective's loss on held-out data every so many steps."""

from __future__ import annotations

from dataclasses import dataclass

from bothways.encoder.encoder import Encoder
from bothways.training.hooks.hook import Hook, Moment, Readers
from bothways.training.loop.metrics import MetricsLog
from bothways.training.stage.heldout import HeldOut


@dataclass(kw_only=True)
class HeldOutLoss(Hook):
    """Writes the held-out loss to the metrics file, also after the last step."""

    heldout: HeldOut
    encoder: Encoder
    every: int
    readers: Readers
    log: MetricsLog

    def after_step(self, moment: Moment) -> None:
        """Read the loss if it is due."""
        if self.readers.active and (moment.last or moment.due(self.every)):
            self.log.write(moment.step, self.heldout.read(self.encoder))
