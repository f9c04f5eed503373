"""When a checkpoint is written, what goes into it, and what may continue it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bothways.errors import InputError
from bothways.training.hooks.checkpointing import Checkpointing
from bothways.training.hooks.hook import Hook
from bothways.training.loop.checkpoints import Checkpoints
from unit.training.hooks.material import Alone, Helper, moment

FACTS = {"recipe": "r", "texts": "t", "processes": 1}


class Update:
    """An update without an optimizer."""

    together = False

    def state(self, *, keep: bool) -> dict[str, Any]:
        return {"steps": 4}

    def load(self, state: dict[str, Any]) -> None:
        self.loaded = state


class Rows(Hook):
    """A hook with a file of its own."""

    def __init__(self) -> None:
        self.read_at: list[int] = []

    def write(self, folder: Path, step: int) -> None:
        (folder / "rows.txt").write_text(str(step))

    def read(self, folder: Path, step: int) -> None:
        assert (folder / "rows.txt").read_text() == str(step)
        self.read_at.append(step)


def hook(folder: Path, *, every: int | None = 4, process: Any = Alone, value: float = 1.0) -> Checkpointing:
    return Checkpointing(
        checkpoints=Checkpoints(folder, keep=2),
        parameters={"a": nn.Parameter(torch.full((2,), value))},
        update=Update(),  # type: ignore[arg-type]
        accelerator=process(),
        every=every,
        others=[Rows()],
    )


def test_a_checkpoint_every_so_many_steps_and_where_the_model_is_better(tmp_path: Path) -> None:
    made = hook(tmp_path / "c", every=4)
    for step in range(1, 8):
        at = moment(step)
        at.better = step == 6
        made.after_step(at)
    assert made.checkpoints.steps() == [4, 6]
    assert (tmp_path / "c" / "step-00000006" / "rows.txt").read_text() == "6"


@pytest.mark.parametrize("better", [True, False])
def test_the_untrained_stage_is_saved_if_it_was_evaluated(tmp_path: Path, better: bool) -> None:
    made, at = hook(tmp_path / "c"), moment(0)
    at.better = better
    made.before_first_step(at)
    assert made.checkpoints.steps() == ([0] if better else [])


def test_the_end_is_saved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, saved = hook(tmp_path / "c", every=5), []
    monkeypatch.setattr(Checkpoints, "save", lambda self, parameters, optimizer, state, extra: saved.append(state.step))
    for step in (5, 10):
        made.after_step(moment(step))
    made.save_last(moment(10).state)
    assert saved == [5, 10]
    made.save_last(moment(11).state)
    assert saved == [5, 10, 11]


def test_resuming_restores_parameters_optimizer_and_the_files_of_hooks(tmp_path: Path) -> None:
    hook(tmp_path / "c", value=2.0).save(moment(4, facts=FACTS).state)
    hook(tmp_path / "c").save(moment(8, facts=FACTS).state)
    made = hook(tmp_path / "c", value=3.0)
    state = made.resume(FACTS)
    assert state is not None and (state.step, made.saved) == (8, 8)
    assert torch.equal(made.parameters["a"], torch.ones(2))
    assert made.update.loaded == {"steps": 4}  # type: ignore[attr-defined]
    assert made.others[0].read_at == [8]  # type: ignore[attr-defined]
    assert hook(tmp_path / "empty").resume(FACTS) is None


@pytest.mark.parametrize("name", FACTS)
def test_a_checkpoint_of_other_facts_is_refused(tmp_path: Path, name: str) -> None:
    hook(tmp_path / "c").save(moment(8, facts=FACTS).state)
    made = hook(tmp_path / "c", value=3.0)
    with pytest.raises(InputError, match=rf"step-00000008: cannot be continued, {name} has changed"):
        made.resume({**FACTS, name: "other"})
    assert torch.equal(made.parameters["a"], torch.full((2,), 3.0))


def test_the_best_step_comes_back(tmp_path: Path) -> None:
    made = hook(tmp_path / "c")
    made.keep_best = True
    best = {"step": 4, "value": 0.9}
    made.save(moment(4, best=best).state)
    with torch.no_grad():
        made.parameters["a"].fill_(7)
    made.finish(moment(10, best={"step": 10, "value": 0.95}).state)
    assert torch.equal(made.parameters["a"], torch.full((2,), 7.0))  # the last one is the best
    made.keep_best = False
    made.finish(moment(10, best=best).state)
    assert torch.equal(made.parameters["a"], torch.full((2,), 7.0))  # the stage ends with the last one
    made.keep_best = True
    made.finish(moment(10, best=best).state)
    assert torch.equal(made.parameters["a"], torch.ones(2))


def test_the_mean_is_that_of_the_regular_checkpoints_and_the_last(tmp_path: Path) -> None:
    """Neither the untrained stage nor a checkpoint that an evaluation left takes part."""
    made = hook(tmp_path / "c", every=None)
    made.checkpoints = Checkpoints(tmp_path / "c", keep=9, regular=(3, 2))
    for step in (0, 1, 2, 3, 4, 5):
        with torch.no_grad():
            made.parameters["a"].fill_(float(step**2))
        at = moment(step, 5)
        at.better = step in (0, 3)
        (made.before_first_step if step == 0 else made.after_step)(at)
    made.save_last(at.state)
    assert made.checkpoints.steps() == [0, 2, 3, 4, 5]
    made.finish(at.state)
    assert torch.equal(made.parameters["a"], torch.full((2,), (4 + 16 + 25) / 3))
    made.checkpoints.regular = (9, 2)  # a short stage takes all that it has
    made.finish(at.state)
    assert torch.equal(made.parameters["a"], torch.full((2,), (4 + 16 + 25) / 3))


def test_another_process_writes_nothing(tmp_path: Path) -> None:
    made = hook(tmp_path / "c", process=Helper)
    made.after_step(moment(4))
    assert made.saved == 4
    assert not (tmp_path / "c").exists()
