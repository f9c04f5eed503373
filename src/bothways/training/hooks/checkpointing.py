"""Saves and restores the checkpoints of a stage."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import nn

from bothways.errors import InputError
from bothways.training.hooks.hook import Hook, Moment
from bothways.training.loop.checkpoints import Checkpoints, StageState
from bothways.training.loop.weight_update import WeightUpdate
from bothways.training.parallel import sharding

log = logging.getLogger("bothways")


@dataclass(kw_only=True)
class Checkpointing(Hook):
    """Saves every so many steps, and after each best evaluation. It is the last hook.

    Attributes:
        checkpoints: the stage's folders.
        parameters: the trained ones by name.
        update: holds the optimizer's state.
        accelerator: the run's processes. The main one writes.
        every: steps between checkpoints. If None, there are no regular ones.
        stage: name of the stage, for the log.
        keep_best: end the stage with the best checkpoint's weights, not with the last ones.
        others: hooks with files of their own in a checkpoint.
        saved: step of the last checkpoint, or None.
    """

    checkpoints: Checkpoints
    parameters: Mapping[str, nn.Parameter]
    update: WeightUpdate
    accelerator: Accelerator
    every: int | None
    stage: str = ""
    keep_best: bool = False
    others: Sequence[Hook] = ()
    saved: int | None = None

    def before_first_step(self, moment: Moment) -> None:
        """Save if the untrained stage was evaluated."""
        if moment.better:
            self.save(moment.state)

    def after_step(self, moment: Moment) -> None:
        """Save if a checkpoint is due, or the model is the best so far."""
        regular = self.checkpoints.regular
        averaged = moment.due(None if regular is None else regular[1])
        if moment.better or averaged or moment.due(self.every):
            self.save(moment.state)

    def finish(self, state: StageState) -> None:
        """Restore the best weights or the mean of checkpoints, if the stage ends with them."""
        if self.keep_best:
            self._restore_best(state)
        if self.checkpoints.regular is not None:
            self._average_last(state.step)

    def save(self, state: StageState) -> None:
        """Write a checkpoint on the main process. All processes gather what is split over them."""
        self.saved = state.step
        main = self.accelerator.is_main_process
        if main or self.update.together:
            parameters = {
                name: sharding.whole(parameter, keep=main)
                for name, parameter in self.parameters.items()
            }
            optimizer = self.update.state(keep=main)
            if main:
                self.checkpoints.save(
                    parameters,
                    optimizer,
                    state,
                    lambda folder: self._write_others(folder, state.step),
                )

    def save_last(self, state: StageState) -> None:
        """Save the end of the stage, unless the last step has saved it already."""
        if self.saved != state.step:
            self.save(state)

    def resume(self, facts: Mapping[str, Any]) -> StageState | None:
        """Restore the latest checkpoint, or return None if there is none.

        Args:
            facts: fingerprints of the recipe and the data, and the number of processes. The
                checkpoint's must be equal.

        Raises:
            InputError: if the checkpoint belongs to other data, another recipe or another number of
                processes.
        """
        steps = self.checkpoints.steps()
        if not steps:
            return None
        state, folder = self.checkpoints.load(steps[-1]), self.checkpoints.path(steps[-1])
        for name, now in facts.items():
            before = state.facts.get(name)
            if before != now:
                raise InputError(
                    f"{folder}: cannot be continued, {name} has changed ({before} → {now}); "
                    "restore it, or train into another folder"
                )
        self.checkpoints.restore(steps[-1], self.parameters, self.update)
        self.saved = state.step
        for hook in self.others:
            hook.read(folder, state.step)
        return state

    def _restore_best(self, state: StageState) -> None:
        """Restore the best checkpoint's parameters, unless the last step is the best."""
        best = state.best
        if self.accelerator.num_processes > 1:
            # Only the main process has measured.
            best = broadcast_object_list([best])[0]
        if best is None or best["step"] == state.step:
            return
        self.checkpoints.restore(int(best["step"]), self.parameters, None)
        for hook in self.others:
            hook.read_best(self.checkpoints.path(int(best["step"])), int(best["step"]))
        log.info(
            "%s: best checkpoint is step %d (%.4f)", self.stage, int(best["step"]), best["value"]
        )

    def _average_last(self, last: int) -> None:
        """Give the model the mean weights of the regular checkpoints and the last one.

        Every process reads them, after the last one was written. A short stage has fewer than are
        asked for, and takes all. Checkpoints of other steps, which a stop or an evaluation left, do
        not count, so a resumed stage ends like an uninterrupted one.
        """
        assert self.checkpoints.regular is not None
        count, every = self.checkpoints.regular
        found = [step for step in self.checkpoints.steps() if step % every == 0 or step == last]
        steps = [step for step in found if step][-count:]
        self.checkpoints.restore_mean(steps, self.parameters)
        written = ", ".join(map(str, steps))
        log.info("%s: ends with the mean of its checkpoints %s", self.stage, written)

    def _write_others(self, folder: Path, step: int) -> None:
        for hook in self.others:
            hook.write(folder, step)
