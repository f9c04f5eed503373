"""Lines of the log: when they come, and over which steps the loss is a mean."""

from __future__ import annotations

from bothways.training.hooks.step_log import StepLog
from unit.training.hooks.material import Log, moment


def test_the_loss_is_the_mean_since_the_line_before() -> None:
    log = Log()
    hook = StepLog(log=log, every=4)  # type: ignore[arg-type]
    hook.before_first_step(moment(0))
    for step in range(1, 11):
        hook.after_step(moment(step))
    # steps 1 to 4, 5 to 8, and the last line over the two that are left
    assert [(step, values["loss"]) for step, values in log.lines] == [(4, 2.5), (8, 6.5), (10, 9.5)]
    assert log.lines[0][1] == {
        "loss": 2.5,
        "lr": 0.1,
        "grad_norm": 0.5,
        "accuracy": 0.4,
        "tokens": 28,
        "seconds": 2.0,
        "tokens_per_second": 14.0,
    }
