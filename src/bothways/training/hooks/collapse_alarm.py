"""Reads the collapse watch, and judges the reading against the first one of the stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.training.hooks.hook import Moment, Readers
from bothways.training.loop.optimizer_step import Diverged
from bothways.training.stage.collapse import CollapseWatch


@dataclass(kw_only=True)
class CollapseAlarm:
    """A measurement that warns, or stops the stage, if all texts get the same vector."""

    watch: CollapseWatch
    encoder: Encoder
    readers: Readers

    def due(self, moment: Moment) -> bool:
        """Return True: the watch is cheap, and read at every measurement."""
        return True

    def measure(self, moment: Moment) -> dict[str, Any]:
        """Read the watch.

        Returns:
            `mean_cosine` and `effective_rank`, and `collapse` with the problem if there is one.
                Empty if there are too few texts.

        Raises:
            Diverged: if the vectors hold NaN or infinity, or are all zero.
            Collapse: if the vectors collapsed and the stage is to stop then.
        """
        values: dict[str, Any] = self.readers.agree(self._read(moment.step))
        moment.state.watch = moment.state.watch or dict(values) or None
        problem = self.watch.judge(values, moment.state.watch, moment.step)
        return values if problem is None else {**values, "collapse": problem}

    def _read(self, step: int) -> dict[str, float]:
        try:
            return self.watch.read(self.encoder)
        except InputError as error:
            remedy = (
                "lower optim.lr or train with dtype float32"
                if step
                else "start from a base with finite weights (bothways doctor)"
            )
            raise Diverged(
                f"stage {self.watch.stage}, step {step}: the training texts have no usable vectors ({error}); {remedy}"
            ) from None
