"""New rows reach the stepper, and checkpoints hold them after the first refresh only."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bothways.training.hooks import refresh as module
from bothways.training.hooks.refresh import NegativeRefresh
from unit.training.hooks.material import Log, Model, moment


class Refresher:
    """Rows that count the refreshes."""

    every = 3

    def __init__(self) -> None:
        self.examples = ["row 0"]

    def due(self, step: int) -> bool:
        return step % self.every == 0

    def write(self, file: Path) -> None:
        file.write_text(self.examples[0])

    def read(self, file: Path) -> None:
        self.examples = [file.read_text()]


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def mine(refresher, step, encoder, accelerator, folder, *, sharded):
        assert not sharded  # one process holds the whole encoder
        refresher.examples = [f"row {step}"]
        return {"refreshed": 1}

    monkeypatch.setattr(module, "refresh", mine)
    objective = SimpleNamespace(prepare=lambda rows, encoder: [f"prepared {row}" for row in rows])
    stepper: Any = SimpleNamespace(encoder=Model(), objective=objective, accelerator=None, examples=["prepared row 0"])
    refresher: Any = Refresher()
    return NegativeRefresh(refresher=refresher, stepper=stepper, folder=tmp_path, log=Log())  # type: ignore[arg-type]


def test_new_rows_reach_the_next_step_but_not_after_the_last(hook: Any) -> None:
    seen = []
    for step in range(1, 10):
        hook.after_step(moment(step, 9))
        seen.append(hook.stepper.examples[0].rsplit(" ", 1)[1])
    assert seen == ["0", "0", "3", "3", "3", "6", "6", "6", "6"]
    assert [step for step, _ in hook.log.lines] == [3, 6]
    assert hook.stepper.encoder.training


@pytest.mark.parametrize("saved", [3, 4])
def test_a_checkpoint_holds_the_rows_after_the_first_refresh(hook: Any, tmp_path: Path, saved: int) -> None:
    hook.write(tmp_path, 2)
    hook.read(tmp_path, 2)
    assert not list(tmp_path.iterdir())
    hook.after_step(moment(3))
    hook.write(tmp_path, saved)
    hook.after_step(moment(6))
    hook.read(tmp_path, saved)
    assert hook.stepper.examples == ["prepared row 3"]
