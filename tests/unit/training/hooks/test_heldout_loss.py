"""When the held-out loss is read, and by whom."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bothways.training.hooks.heldout_loss import HeldOutLoss
from unit.training.hooks.material import ONE, OTHER, Log, Model, moment


def steps(readers: Any) -> list[int]:
    log: Any = Log()
    heldout: Any = SimpleNamespace(read=lambda encoder: {"heldout_loss": 2.0})
    model: Any = Model()
    hook = HeldOutLoss(heldout=heldout, encoder=model, every=4, readers=readers, log=log)
    hook.before_first_step(moment(0))
    for step in range(1, 11):
        hook.after_step(moment(step))
    assert all(values == {"heldout_loss": 2.0} for _, values in log.lines)
    return [step for step, _ in log.lines]


def test_every_so_many_steps_and_after_the_last() -> None:
    assert steps(ONE) == [4, 8, 10]


def test_another_process_reads_nothing() -> None:
    assert steps(OTHER) == []
