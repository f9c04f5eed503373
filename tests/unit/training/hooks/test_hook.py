"""When something is due, and that a hook does nothing unless it says so."""

from __future__ import annotations

from pathlib import Path

from bothways.training.hooks.hook import Hook
from unit.training.hooks.material import ONE, OTHER, moment


def test_due_every_so_many_steps_and_never_for_none() -> None:
    assert [step for step in range(1, 11) if moment(step).due(4)] == [4, 8]
    assert not any(moment(step).due(None) for step in range(1, 11))
    assert [step for step in range(1, 11) if moment(step).last] == [10]


def test_a_plain_hook_does_nothing(tmp_path: Path) -> None:
    at, hook = moment(3), Hook()
    hook.before_first_step(at)
    hook.after_step(at)
    hook.write(tmp_path, 3)
    hook.read(tmp_path, 3)
    assert at == moment(3)
    assert not list(tmp_path.iterdir())


def test_the_main_process_reads_and_others_do_not() -> None:
    assert ONE.active
    assert not OTHER.active
    assert ONE.agree(0.25) == 0.25
