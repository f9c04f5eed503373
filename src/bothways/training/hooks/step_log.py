"""Writes loss, learning rate and speed to the metrics file."""

from __future__ import annotations

from dataclasses import dataclass

from bothways.training.hooks.hook import Hook, Moment
from bothways.training.loop.metrics import MetricsLog


@dataclass(kw_only=True)
class StepLog(Hook):
    """Writes a line every so many steps, and after the last one.

    The loss is the mean over the steps since the line before. Learning rate, gradient norm and the
    objective's metrics are those of the step.
    """

    log: MetricsLog
    every: int

    def after_step(self, moment: Moment) -> None:
        """Write a line if one is due."""
        result, state = moment.result, moment.state
        if result is None or not (moment.last or moment.due(self.every)):
            return
        since = (state.step - 1) // self.every * self.every
        window = state.losses[since:]
        self.log.write(
            state.step,
            {
                "loss": sum(window) / len(window),
                "lr": result.lr,
                "grad_norm": result.grad_norm,
                **result.metrics,
                "tokens": state.tokens,
                "seconds": round(state.seconds, 3),
                "tokens_per_second": round(state.tokens / state.seconds, 1)
                if state.seconds > 0
                else 0.0,
            },
        )
