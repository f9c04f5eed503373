"""The loop of one stage: optimizer steps, with hooks after each of them.

The step itself is in `optimizer_step.py`, the run around the stages in `trainer.py`. Nothing here
knows the objective, or what the hooks do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import broadcast_object_list

from bothways.progress import Progress
from bothways.training.hooks.checkpointing import Checkpointing
from bothways.training.hooks.evaluation import exhausted
from bothways.training.hooks.hook import Hook, Moment
from bothways.training.loop.checkpoints import StageState
from bothways.training.loop.optim import lr_factor
from bothways.training.loop.optimizer_step import Diverged, Stepper, StepResult
from bothways.training.loop.run_context import RunContext
from bothways.training.loop.signals import Interrupted, StopSignal
from bothways.training.stage.stage_context import StageContext

log = logging.getLogger("bothways")

_USUAL_SCALES = (1.0, 1000.0)
"""Factors on cosines. Below, a softmax over them is flat. Above, one text decides alone."""


@dataclass(kw_only=True)
class StageRun:
    """A stage that is ready to be trained.

    `train()` ends with the last or the best parameters in the stepper's encoder.

    Attributes:
        context: the stage.
        run: the run that it belongs to.
        stepper: takes the steps. Its encoder has the adapter attached, in the stage's precision.
        hooks: called in this order, `checkpointing` among them.
        checkpointing: saves when a signal comes and at the end.
        facts: fingerprints that a checkpoint must share to be continued.
        offset: number of steps of the stages before, so that trackers see one growing axis.
    """

    context: StageContext
    run: RunContext
    stepper: Stepper
    hooks: Sequence[Hook]
    checkpointing: Checkpointing
    facts: dict[str, Any]
    offset: int = 0

    @property
    def stop(self) -> int:
        """Number of the last step."""
        return self.context.stage.optim.stop(self.stepper.order.steps_per_epoch)

    def train(self, *, resume: bool) -> StageState:
        """Train until the last step, from the latest checkpoint if `resume`.

        Raises:
            Interrupted: if a signal came. The step was finished and saved.
            Diverged: if the loss or the gradient is not finite.
            Collapse: if the vectors collapsed and the stage is to stop then.
            InputError: if the checkpoint belongs to other data, another recipe or another number of
                processes.
        """
        name, stop = self.context.name, self.stop
        state = self._resumed() if resume else StageState(facts=self.facts)
        self._announce()
        self.run.metrics.begin(
            name, self.context.index, state.step if state.step else -1, self.offset
        )
        self.stepper.encoder.train()
        self.stepper.objective.train()
        shown = self.run.progress if self.run.main else False
        with StopSignal() as signals, Progress(name, stop, "steps", show=shown) as bar:
            bar.advance(state.step)
            if state.step == 0:
                moment = Moment(state, stop)
                for hook in self.hooks:
                    hook.before_first_step(moment)
            ended = exhausted(self.context.stage.eval, state.step, state.best)
            while state.step < stop and not ended:
                result = self._step(state, signals)
                bar.advance(1, f"loss {result.loss:.3f}")
                moment = Moment(state, stop, result)
                for hook in self.hooks:
                    hook.after_step(moment)
                ended = self._ended(moment)
                self._stop_if_asked(state, result, signals)
        self.checkpointing.save_last(state)
        self.run.accelerator.wait_for_everyone()
        for hook in reversed(self.hooks):
            hook.finish(state)
        return state

    def _ended(self, moment: Moment) -> bool:
        """Tell if a hook ends the stage early. Only the processes that measure know it first."""
        choice, accelerator = self.context.stage.eval, self.run.accelerator
        if choice is None or choice.patience is None or not moment.due(choice.every):
            return False
        if accelerator.num_processes == 1:
            return moment.ended
        return bool(broadcast_object_list([moment.ended])[0])

    def _step(self, state: StageState, signals: StopSignal) -> StepResult:
        """Take one step, and add it to the state."""
        optim = self.context.stage.optim
        begin = time.perf_counter()
        lr = optim.lr * lr_factor(
            optim, state.step, optim.horizon(self.stepper.order.steps_per_epoch)
        )
        try:
            result = self.stepper(state.step, lr, interrupted=signals.received is not None)
        except Diverged as error:
            raise Diverged(f"stage {self.context.name}, {error}") from None
        state.step += 1
        state.losses.append(result.loss)
        state.tokens += result.tokens
        state.seconds += time.perf_counter() - begin
        return result

    def _stop_if_asked(self, state: StageState, result: StepResult, signals: StopSignal) -> None:
        """Save and raise Interrupted if a signal has come.

        Processes must agree. They learn of another one's signal with the next step.
        """
        alone = self.run.accelerator.num_processes == 1 and signals.received is not None
        if not (result.interrupted or alone):
            return
        self.checkpointing.save(state)
        self.run.accelerator.wait_for_everyone()
        raise Interrupted(
            f"stopped on {signals.received or 'a signal'} after step {state.step} of {self.stop} in stage "
            f"{self.context.name}; everything is saved, resume to continue",
            signals.received,
        )

    def _resumed(self) -> StageState:
        state = self.checkpointing.resume(self.facts)
        if state is None:
            return StageState(facts=self.facts)
        log.info("%s: continuing after step %d of %d", self.context.name, state.step, self.stop)
        return state

    def _announce(self) -> None:
        scale = getattr(self.context.stage.objective, "scale", None)
        if isinstance(scale, float) and not _USUAL_SCALES[0] <= scale <= _USUAL_SCALES[1]:
            log.warning(
                "stages.%s.objective.scale: %g is far from the usual 10 to 100 (1 / temperature), so the loss hardly depends on "
                "the cosines, or on one of them alone; LLM2Vec uses 50, SimCSE 20",
                self.context.name,
                scale,
            )
        order = self.stepper.order
        trained = sum(parameter.numel() for parameter in self.checkpointing.parameters.values())
        log.info(
            "stage %s: %d steps of %d examples (from %s), %s parameters trained in float32 next to %s weights",
            self.context.name,
            self.stop,
            order.global_size,
            "a stream" if order.examples is None else order.examples,
            f"{trained:,}",
            str(self._frozen_dtype()).removeprefix("torch."),
        )

    def _frozen_dtype(self) -> torch.dtype:
        encoder = self.stepper.encoder
        frozen = (
            parameter.dtype
            for parameter in encoder.backbone.parameters()
            if not parameter.requires_grad
        )
        return next(frozen, encoder.dtype)
