"""One stage: optimiser steps with evaluation, alarm, log and checkpoints around them.

It stands apart from the step (`optimizer_step.py`), which is mathematics, and from the run (`trainer.py`), which is folders. Nothing here
knows which objective is trained.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from bothways.data.batches import Group
from bothways.data.sampling import rows_by_task
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.mining.refresher import Refresher
from bothways.objectives.base import Objective
from bothways.progress import Progress
from bothways.training.loop.checkpoints import Checkpoints, StageState
from bothways.training.loop.metrics import MetricsLog
from bothways.training.loop.optim import build_optimizer, lr_factor
from bothways.training.loop.optimizer_step import Diverged, Stepper, StepResult, trainable_parameters
from bothways.training.loop.randomness import Order
from bothways.training.loop.signals import Interrupted, StopSignal
from bothways.training.loop.update import PlainUpdate, Update
from bothways.training.parallel import sharding
from bothways.training.parallel.zero import Zero, ZeroUpdate
from bothways.training.recipe.recipe import Recipe, Stage
from bothways.training.stage.collapse import EARLY_STEPS, CollapseWatch
from bothways.training.stage.heldout import HeldOut
from bothways.training.stage.negative_refresh import FILE, refresh

log = logging.getLogger("bothways")

#: Factors on cosines beyond which a softmax over them is flat, or one text decides all.
_USUAL_SCALES = (1.0, 1000.0)


@dataclass
class StageRun:
    """A stage ready to be trained: `train()` ends with its last or best parameters in `encoder`.

    Attributes:
        recipe, index: which stage of which recipe.
        encoder: adapter attached, in the stage's precision.
        objective: built for it.
        texts: training texts, what the collapse watch samples.
        examples: the objective's.
        groups: their tasks and weights.
        metric: development metric, or None.
        heldout: reader of the loss on held-out texts, or None.
        folder: of the stage's checkpoints.
        facts: fingerprints that a checkpoint must share to be continued.
        offset: steps of the stages before, for trackers.
        progress: show progress; None: when it takes long.
        refresher: holds the rows where their negatives are mined anew, or None.
        zero: DeepSpeed takes the steps, or None.
    """

    recipe: Recipe
    index: int
    encoder: Encoder
    objective: Objective
    texts: Sequence[str]
    examples: Sequence[Any]
    groups: Sequence[Group]
    metric: Callable[[Encoder], float] | None
    heldout: HeldOut | None
    accelerator: Accelerator
    folder: Path
    log: MetricsLog
    facts: dict[str, Any]
    offset: int = 0
    progress: bool | None = None
    refresher: Refresher | None = None
    zero: Zero | None = None

    def __post_init__(self) -> None:
        stage = self.stage
        self.order = order_of(self.recipe, self.index, self.groups, self.accelerator.num_processes)
        self.horizon = stage.optim.horizon(self.order.steps_per_epoch)
        self.stop = stage.optim.stop(self.order.steps_per_epoch)
        self.parameters = trainable_parameters(self.encoder, self.objective)
        if not self.parameters:
            raise InputError(f"stages.{stage.name}: nothing to train; give it an adapter, or null to train every weight")
        self.update = self._update()
        self.checkpoints = Checkpoints(self.folder, keep=self.recipe.keep_checkpoints)
        self.watch = CollapseWatch(
            self.texts,
            seed=self.recipe.seed,
            stage=stage.name,
            action=stage.on_collapse,
            remedy=stage.objective.collapse_remedy,
        )
        self.state = StageState(facts=self.facts)
        self.sharded = sharding.is_sharded(self.encoder)
        self.saved: int | None = None

    @property
    def stage(self) -> Stage:
        """The stage's config."""
        return self.recipe.stages[self.index]

    def train(self, *, resume: bool) -> StageState:
        """Run to the stop, from the latest checkpoint when resuming.

        Raises:
            Interrupted: a signal came; the step was finished and saved.
            Diverged: loss or gradient is not finite.
            Collapse: the vectors collapsed and the stage is to stop then.
            InputError: the checkpoint belongs to other data, another recipe or another number of processes.
        """
        if resume:
            self._resume()
        state = self.state
        self._announce()
        self.log.begin(self.stage.name, self.index, state.step if state.step else -1, self.offset)
        self.stepper = stepper = self._stepper()
        self.encoder.train()
        self.objective.train()
        with (
            StopSignal() as signals,
            Progress(
                self.stage.name, self.stop, "steps", show=self.progress if self.accelerator.is_main_process else False
            ) as bar,
        ):
            bar.advance(state.step)
            if state.step == 0 and self._look(evaluate=self.stage.eval is not None and self.stage.eval.at_start):
                self._save()
            while state.step < self.stop:
                begin = time.perf_counter()
                lr = self.stage.optim.lr * lr_factor(self.stage.optim, state.step, self.horizon)
                try:
                    result = stepper(state.step, lr, interrupted=signals.received is not None)
                except Diverged as error:
                    raise Diverged(f"stage {self.stage.name}, {error}") from None
                state.step += 1
                state.losses.append(result.loss)
                state.tokens += result.tokens
                state.seconds += time.perf_counter() - begin
                bar.advance(1, f"loss {result.loss:.3f}")
                self._after(result)
                # processes must agree, and the others know of a signal one step later
                alone = self.accelerator.num_processes == 1 and signals.received is not None
                if result.interrupted or alone:
                    self._save()
                    self.accelerator.wait_for_everyone()
                    raise Interrupted(
                        f"stopped on {signals.received or 'a signal'} after step {state.step} of {self.stop} in stage "
                        f"{self.stage.name}; everything is saved, resume to continue",
                        signals.received,
                    )
        if self.saved != state.step:
            self._save()
        self.accelerator.wait_for_everyone()
        self._end()
        return state

    def _announce(self) -> None:
        scale = getattr(self.stage.objective, "scale", None)
        if isinstance(scale, float) and not _USUAL_SCALES[0] <= scale <= _USUAL_SCALES[1]:
            log.warning(
                "stages.%s.objective.scale: %g is far from the usual 10 to 100 (1 / temperature), so the loss hardly depends on the "
                "cosines or on one of them alone; LLM2Vec 50, SimCSE 20",
                self.stage.name,
                scale,
            )
        log.info(
            "stage %s: %d steps of %d examples (%d there), %s parameters trained in float32 beside %s weights",
            self.stage.name,
            self.stop,
            self.order.global_size,
            len(self.examples),
            f"{sum(parameter.numel() for parameter in self.parameters.values()):,}",
            str(self._frozen_dtype()).removeprefix("torch."),
        )

    def _frozen_dtype(self) -> torch.dtype:
        frozen = (parameter.dtype for parameter in self.encoder.backbone.parameters() if not parameter.requires_grad)
        return next(frozen, self.encoder.dtype)

    def _update(self) -> Update:
        optim = self.stage.optim
        optimizer = build_optimizer(self.parameters, optim)
        if self.zero is not None:
            return ZeroUpdate(self.zero, self.parameters, optimizer, self.accelerator, optim.clip_norm)
        return PlainUpdate(self.parameters, optimizer, self.accelerator, optim.clip_norm)

    def _stepper(self) -> Stepper:
        return Stepper(
            encoder=self.encoder,
            objective=self.objective,
            examples=self.examples,
            order=self.order,
            update=self.update,
            accelerator=self.accelerator,
            accumulation=self.stage.batch.accumulation,
            seed=self.recipe.seed,
            stage=self.index,
        )

    def _after(self, result: StepResult) -> None:
        """What a finished step may trigger: a log line, an evaluation, a checkpoint."""
        step, stage = self.state.step, self.stage
        last = step == self.stop
        if last or step % stage.log_every == 0:
            since = (step - 1) // stage.log_every * stage.log_every
            window = self.state.losses[since:step]
            seconds = self.state.seconds
            self.log.write(
                step,
                {
                    "loss": sum(window) / len(window),
                    "lr": result.lr,
                    "grad_norm": result.grad_norm,
                    **result.metrics,
                    "tokens": self.state.tokens,
                    "seconds": round(seconds, 3),
                    "tokens_per_second": round(self.state.tokens / seconds, 1) if seconds > 0 else 0.0,
                },
            )
        if self.refresher is not None and not last and self.refresher.due(step):
            self._refresh()
        reads = stage.heldout is not None and (last or step % stage.heldout.every == 0)
        if reads and self.heldout is not None and (self.accelerator.is_main_process or self.sharded):
            self.log.write(step, self.heldout.read(self.encoder))
        evaluate = stage.eval is not None and (last or step % stage.eval.every == 0)
        save = stage.save_every is not None and step % stage.save_every == 0
        if evaluate or save or last or step in EARLY_STEPS:
            better = self._look(evaluate=evaluate)
            if save or better:
                self._save()

    def _refresh(self) -> None:
        """Mine with the parameters as they are now, before anything of this step is saved."""
        if self.refresher is None:
            return
        step = self.state.step
        values = refresh(self.refresher, step, self.encoder, self.accelerator, self.folder)
        self.stepper.examples = self.objective.prepare(self.refresher.examples, self.encoder)
        if values:
            self.log.write(step, values)
        self.encoder.train()

    def _look(self, *, evaluate: bool) -> bool:
        """Read the collapse watch and, if asked, the dev metric; true when that is the best so far.

        The main process looks; the others wait for it in the next step's first exchange. Where the model is sharded all of them must
        run it, and take over what the main process has read.
        """
        state = self.state
        better = False
        if self.accelerator.is_main_process or self.sharded:
            values: dict[str, Any] = self._agreed(self._watched())
            state.watch = state.watch or dict(values) or None
            problem = self.watch.judge(values, state.watch, state.step)
            if problem is not None:
                values["collapse"] = problem
            if evaluate and self.metric is not None:
                value = self._agreed(float(self.metric(self.encoder)))
                better = state.best is None or value > state.best["value"]
                if better:
                    state.best = {"step": state.step, "value": value}
                values |= {"dev": value, "dev_metric": getattr(self.metric, "name", "dev")}
                log.info(
                    "%s step %d: %s %.4f%s",
                    self.stage.name,
                    state.step,
                    values["dev_metric"],
                    value,
                    " (best)" if better else "",
                )
            if values:
                self.log.write(state.step, values)
            self.encoder.train()
        return better

    def _watched(self) -> dict[str, float]:
        """A reading of the collapse watch.

        Raises:
            Diverged: the vectors hold NaN or infinity, or are all zero.
        """
        try:
            return self.watch.read(self.encoder)
        except InputError as error:
            step = self.state.step
            remedy = (
                "lower optim.lr or train with dtype float32"
                if step
                else "start from a base whose weights are sound (bothways doctor)"
            )
            raise Diverged(
                f"stage {self.stage.name}, step {step}: the training texts have no usable vectors ({error}); {remedy}"
            ) from None

    def _agreed(self, read: Any) -> Any:
        """What the main process has read, where all have."""
        return broadcast_object_list([read])[0] if self.sharded else read

    def _save(self) -> None:
        """Write a checkpoint, on the main process; what is split is gathered by all."""
        self.saved = self.state.step
        main = self.accelerator.is_main_process
        if main or self.update.together:
            parameters = {name: sharding.whole(parameter, keep=main) for name, parameter in self.parameters.items()}
            optimizer = self.update.state(keep=main)
            if main:
                self.checkpoints.save(parameters, optimizer, self.state, self._save_examples)

    def _save_examples(self, folder: Path) -> None:
        """The rows of the last refresh, in a checkpoint's folder."""
        if self.refresher is not None and self.state.step >= self.refresher.every:
            self.refresher.write(folder / FILE)

    def _resume(self) -> None:
        steps = self.checkpoints.steps()
        if not steps:
            return
        state = self.checkpoints.load(steps[-1])
        for name, now in self.facts.items():
            before = state.facts.get(name)
            if before != now:
                raise InputError(
                    f"{self.checkpoints.path(steps[-1])}: cannot be continued, {name} has changed ({before} → {now}); "
                    "restore it, or train into another folder"
                )
        self.checkpoints.restore(steps[-1], self.parameters, self.update)
        self.state, self.saved = state, state.step
        if self.refresher is not None and state.step >= self.refresher.every:
            self.refresher.read(self.checkpoints.path(steps[-1]) / FILE)
            self.examples = self.objective.prepare(self.refresher.examples, self.encoder)
        log.info("%s: continuing after step %d of %d", self.stage.name, state.step, self.stop)

    def _end(self) -> None:
        """Put the best checkpoint in place of the last one, where a metric chose it."""
        best, choose = self.state.best, self.stage.eval
        if self.accelerator.num_processes > 1:
            # only the main process has measured
            best = broadcast_object_list([best])[0]
        if best is None or choose is None or not choose.restore_best or best["step"] == self.state.step:
            return
        self.checkpoints.restore(int(best["step"]), self.parameters, None)
        log.info("%s: best checkpoint is step %d (%.4f)", self.stage.name, int(best["step"]), best["value"])


def order_of(recipe: Recipe, index: int, groups: Sequence[Group], processes: int) -> Order:
    """The order of a stage's examples.

    Raises:
        InputError: fewer examples than one optimiser step takes.
    """
    stage = recipe.stages[index]
    order = Order(
        groups,
        size=stage.batch.size,
        accumulation=stage.batch.accumulation,
        world=processes,
        seed=recipe.seed,
        stage=index,
        batches=stage.data.batches,
    )
    step = (
        f"one step takes {order.global_size} (batch.size {stage.batch.size} x accumulation {stage.batch.accumulation} x "
        f"{processes} processes)"
    )
    tasks = rows_by_task(groups)
    if order.steps_per_epoch == 0:
        found = f"{sum(tasks.values())} examples" if order.kind == "blended" else f"{max(tasks.values())} of one task at most"
        raise InputError(f"stages.{stage.name}: the data gives {found}, and {step}; give more text or a smaller batch")
    left_out = [task for task, rows in tasks.items() if rows < order.global_size]
    if order.kind == "homogeneous" and left_out:
        log.warning("stages.%s: no batch of the tasks %s is ever full, since %s", stage.name, ", ".join(left_out), step)
    return order
