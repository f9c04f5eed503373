"""The interface of a hook: called before the first step, after each one and at the end.

A stage's loop knows nothing but a list of hooks. A new feature is a new hook in the list of
`training.loop.stage_runner`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from bothways.training.loop.checkpoints import StageState
from bothways.training.loop.optimizer_step import StepResult

Agreed = TypeVar("Agreed")


@dataclass
class Moment:
    """The point in a stage at which hooks are called.

    Attributes:
        state: the stage's state. Hooks may change `best` and `watch`.
        stop: number of the last step.
        result: of the step, or None before the first one.
        better: set by a hook if the model is the best so far. Later hooks in the list see it.
        ended: set by a hook if the stage is to end after this step.
    """

    state: StageState
    stop: int
    result: StepResult | None = None
    better: bool = False
    ended: bool = False

    @property
    def step(self) -> int:
        """Number of steps taken."""
        return self.state.step

    @property
    def last(self) -> bool:
        """True after the last step that is planned."""
        return self.step == self.stop

    def due(self, every: int | None) -> bool:
        """Tell if something that happens every so many steps is due. If None, it never is."""
        return every is not None and self.step % every == 0


class Hook:
    """Something that happens between steps. Every method does nothing by default."""

    def before_first_step(self, moment: Moment) -> None:
        """Run before the first step of a stage. A resumed stage skips it."""

    def after_step(self, moment: Moment) -> None:
        """Run after each step."""

    def finish(self, state: StageState) -> None:
        """Change the weights that the stage ends with, after the last step was saved.

        Hooks finish in reverse order, so that weights from a checkpoint come first.
        """

    def write(self, folder: Path, step: int) -> None:
        """Add the hook's own files to the checkpoint in `folder`, which is being written."""

    def read(self, folder: Path, step: int) -> None:
        """Restore the hook from the checkpoint in `folder`."""

    def read_best(self, folder: Path, step: int) -> None:
        """Take what belongs to the best weights from their checkpoint, at the end of a stage."""


@dataclass(frozen=True)
class Readers:
    """The processes that read the model between steps.

    The main process reads alone, and the others wait for it in the next step's first exchange. If
    the model is sharded, all of them must run it. They take over the main process's figures.

    Attributes:
        accelerator: the run's processes.
        sharded: the model is split over them.
    """

    accelerator: Accelerator
    sharded: bool

    @property
    def active(self) -> bool:
        """True if this process reads."""
        return self.accelerator.is_main_process or self.sharded

    def agree(self, figures: Agreed) -> Agreed:
        """Return the main process's figures on every process that reads."""
        if not self.sharded:
            return figures
        told: Agreed = broadcast_object_list([figures])[0]
        return told
