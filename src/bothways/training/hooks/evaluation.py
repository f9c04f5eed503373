"""Measures the model between steps: the collapse watch, and the development metric."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from bothways.encoder.encoder import Encoder
from bothways.moved import old_names
from bothways.training.hooks.hook import Hook, Moment, Readers
from bothways.training.hooks.weight_average import WeightAverage
from bothways.training.loop.metrics import MetricsLog
from bothways.training.recipe.stage_config import EvalConfig
from bothways.training.stage.collapse import EARLY_STEPS

log = logging.getLogger("bothways")


class Measurement(Protocol):
    """One kind of figure about the model."""

    def due(self, moment: Moment) -> bool:
        """Tell if the figure is wanted at this moment."""

    def measure(self, moment: Moment) -> dict[str, Any]:
        """Measure, and return values for the metrics file."""


@dataclass(kw_only=True)
class DevMeasurement:
    """A measurement that chooses the best checkpoint. Higher is better.

    Attributes:
        metric: called with the encoder.
        config: when to measure.
        stage: name of the stage, for the log line.
    """

    metric: Callable[[Encoder], float]
    encoder: Encoder
    config: EvalConfig
    stage: str
    readers: Readers

    def due(self, moment: Moment) -> bool:
        """Tell if an evaluation is due; before the first step only if the config says so."""
        if moment.result is None:
            return self.config.at_start
        return moment.last or self.config.due(moment.step)

    def measure(self, moment: Moment) -> dict[str, Any]:
        """Evaluate, and mark the moment as better if this is the best value so far."""
        state = moment.state
        value = self.readers.agree(float(self.metric(self.encoder)))
        moment.better = state.best is None or value > state.best["value"]
        if moment.better:
            state.best = {"step": state.step, "value": value}
        moment.ended = exhausted(self.config, state.step, state.best)
        name = getattr(self.metric, "name", "dev")
        log.info(
            "%s step %d: %s %.4f%s",
            self.stage,
            state.step,
            name,
            value,
            " (best)" if moment.better else "",
        )
        if moment.ended and not moment.last:
            log.info(
                "%s: no better value in %d evaluations, so the stage ends after step %d",
                self.stage,
                self.config.patience,
                state.step,
            )
        return {"dev": value, "dev_metric": name}


def exhausted(config: EvalConfig | None, step: int, best: Mapping[str, float] | None) -> bool:
    """Tell if a stage's patience is over after an evaluation at `step`.

    It follows from the checkpoint's state alone, so a resumed stage ends where it would have ended.

    Args:
        config: the evaluation. If None, there is no patience.
        step: number of steps taken.
        best: {"step", "value"} of the best evaluation. If None, nothing was evaluated.
    """
    if config is None or config.patience is None or best is None or step % config.every:
        return False
    return step // config.every - int(best["step"]) // config.every >= config.patience


@dataclass(kw_only=True)
class Measurements(Hook):
    """Takes all measurements, and writes them as one line of the metrics file.

    This happens before the first step, at each evaluation and checkpoint, after the last step, and
    at `EARLY_STEPS`, because most collapses come early.

    Attributes:
        measurements: in order. An earlier one may stop the stage before a later one is taken.
        save_every: steps between checkpoints. If None, there are no regular ones.
        average: the averaged weights are measured. If None, the weights themselves.
    """

    measurements: Sequence[Measurement]
    encoder: Encoder
    eval: EvalConfig | None
    save_every: int | None
    readers: Readers
    log: MetricsLog
    average: WeightAverage | None = None

    def before_first_step(self, moment: Moment) -> None:
        """Measure the untrained stage."""
        self._measure(moment)

    def after_step(self, moment: Moment) -> None:
        """Measure if it is due."""
        evaluate = self.eval is not None and self.eval.due(moment.step)
        if evaluate or moment.last or moment.due(self.save_every) or moment.step in EARLY_STEPS:
            self._measure(moment)

    def _measure(self, moment: Moment) -> None:
        if not self.readers.active:
            return
        values: dict[str, Any] = {}
        with nullcontext() if self.average is None else self.average.applied():
            for each in self.measurements:
                if each.due(moment):
                    values |= each.measure(moment)
        if values:
            self.log.write(moment.step, values)
        self.encoder.train()


__getattr__ = old_names(__name__)
