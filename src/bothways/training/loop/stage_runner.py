"""Trains one stage, from opening its start to saving its product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from bothways.backbone.head import Head
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.evaluation import devmetric
from bothways.objectives.objective import Objective
from bothways.training.hooks.checkpointing import Checkpointing
from bothways.training.hooks.collapse_alarm import CollapseAlarm
from bothways.training.hooks.evaluation import DevMeasurement, Measurement, Measurements
from bothways.training.hooks.heldout_loss import HeldOutLoss
from bothways.training.hooks.hook import Hook, Readers
from bothways.training.hooks.refresh import NegativeRefresh
from bothways.training.hooks.step_log import StepLog
from bothways.training.hooks.stream_mark import StreamMark
from bothways.training.hooks.weight_average import WeightAverage
from bothways.training.loop import precision
from bothways.training.loop.checkpoints import Checkpoints, StageState
from bothways.training.loop.optim import block_count, build_optimizer, warn_of_idle_rates
from bothways.training.loop.optimizer_step import Stepper, trainable_parameters
from bothways.training.loop.run_context import RunContext
from bothways.training.loop.stage_run import StageRun
from bothways.training.loop.unstored_prompts import say_unstored
from bothways.training.loop.weight_update import PlainUpdate, WeightUpdate
from bothways.training.parallel import sharding
from bothways.training.parallel.zero import ZeroUpdate
from bothways.training.recipe.stage_config import Stage
from bothways.training.stage.collapse import CollapseWatch
from bothways.training.stage.later_stages import check_later, check_negatives
from bothways.training.stage.product import product_of
from bothways.training.stage.stage_context import StageContext
from bothways.training.stage.stage_data import StageData, read_stage_data
from bothways.training.stage.stage_order import stage_examples
from bothways.training.stage.stage_output import merge_stage, record
from bothways.training.stage.stage_setup import (
    open_heldout,
    open_stage,
    ready,
    start_device,
)
from bothways.training.stream.example_stream import ExampleStream


def train_stage(
    context: StageContext, run: RunContext, *, resume: bool, offset: int, check_others: bool
) -> int:
    """Train a stage and save its product.

    Args:
        context: the stage.
        run: the run that it belongs to.
        resume: continue after the stage's latest checkpoint, if it has one.
        offset: number of steps of the stages before.
        check_others: also check the later stages before the first step.

    Returns:
        The number of its steps.
    """
    return _StageRunner(context, run).train(resume=resume, offset=offset, check_others=check_others)


@dataclass
class _StageRunner:
    context: StageContext
    run: RunContext

    def train(self, *, resume: bool, offset: int, check_others: bool) -> int:
        context, run, stage = self.context, self.run, self.context.stage
        product, split = product_of(stage), run.parallel.sharding
        data = read_stage_data(stage, run.texts)
        check_negatives(stage, data.items)
        chosen = precision.choose(
            context.recipe.dtype, run.accelerator.device, adapter=stage.adapter is not None
        )
        device, place = start_device(context, run.accelerator.device)
        if split is not None:
            if place is not None:
                raise InputError(
                    f"stages.{stage.name}.adapter.load_in_4bit: weights of 4 bits are not split by FSDP; use ZeRO (accelerate "
                    "launch --use_deepspeed --zero_stage 2), or leave load_in_4bit out"
                )
            # A model that is to be split need not fit on one device.
            device = torch.device("cpu")
            place = partial(sharding.shard, sharding=split, accelerator=run.accelerator)
        encoder = open_stage(context, device=device, dtype=chosen.weights)
        if check_others:
            check_later(context, encoder, run.texts, processes=run.accelerator.num_processes)
        with ready(context, encoder, chosen, place) as objective:
            state = self._stage_run(encoder, objective, data, offset).train(resume=resume)
            trainable = sum(
                parameter.numel() for parameter in trainable_parameters(encoder, objective).values()
            )
            head = product.trained_head(objective)
        # This frees memory for the float32 copy that the adapter is merged into.
        del objective
        self._save(encoder, head, data, state, trainable)
        run.accelerator.wait_for_everyone()
        return state.step

    def _save(
        self,
        encoder: Encoder,
        head: Head | None,
        data: StageData,
        state: StageState,
        trainable: int,
    ) -> None:
        """Merge the adapter, record the stage and save its product, on the main process."""
        context, main, product = self.context, self.run.main, product_of(self.context.stage)
        split = self.run.parallel.sharding is not None
        trained = sharding.trained_state(encoder, keep=main) if split else None
        if not main:
            return
        encoder, difference = merge_stage(context, encoder, data.texts, trained)
        record(encoder, context, data=data, state=state, trainable=trainable, difference=difference)
        product.describe_adapter(encoder, context)
        say_unstored(data.items, encoder.options.prompts, context.name)
        product.save(encoder, head, context)

    def _stage_run(
        self, encoder: Encoder, objective: Objective[Any], data: StageData, offset: int
    ) -> StageRun:
        """Build the loop of the stage with its hooks."""
        context, run, stage = self.context, self.run, self.context.stage
        examples, order = stage_examples(
            context, data, objective, encoder, run.accelerator.num_processes
        )
        parameters = trainable_parameters(encoder, objective)
        if not parameters:
            raise InputError(
                f"stages.{stage.name}: nothing to train; give it an adapter, or adapter: null to train every weight"
            )
        if run.main:
            warn_of_idle_rates(parameters, stage.optim, stage.name)
        stepper = Stepper(
            encoder=encoder,
            objective=objective,
            examples=examples,
            order=order,
            update=self._update(parameters, block_count(encoder)),
            accelerator=run.accelerator,
            accumulation=stage.batch.accumulation,
            seed=context.recipe.seed,
            stage=context.index,
        )
        average = self._average(parameters)
        hooks = self._hooks(stepper, data, average)
        checkpointing = Checkpointing(
            checkpoints=Checkpoints(
                context.checkpoint_folder,
                keep=context.recipe.keep_checkpoints,
                regular=_averaged(stage),
            ),
            parameters=parameters,
            update=stepper.update,
            accelerator=run.accelerator,
            every=stage.save_every,
            stage=stage.name,
            keep_best=stage.eval is not None and stage.eval.restore_best,
            others=hooks,
        )
        facts = {
            "recipe": context.recipe.fingerprint(),
            "texts": data.fingerprint,
            "processes": run.accelerator.num_processes,
        }
        return StageRun(
            context=context,
            run=run,
            stepper=stepper,
            hooks=[*hooks, checkpointing],
            checkpointing=checkpointing,
            facts=facts,
            offset=offset,
        )

    def _average(self, parameters: dict[str, torch.nn.Parameter]) -> WeightAverage | None:
        """Build the average of weights that the stage asks for, or return None."""
        stage, parallel = self.context.stage, self.run.parallel
        if stage.average is None:
            return None
        if parallel.sharding is not None or parallel.zero is not None:
            raise InputError(
                f"stages.{stage.name}.average: weights that are split over processes are not averaged; start without FSDP or "
                "DeepSpeed, or leave average out"
            )
        if stage.average.ema is None:
            return None
        return WeightAverage(parameters=parameters, decay=stage.average.ema)

    def _update(self, parameters: dict[str, torch.nn.Parameter], blocks: int) -> WeightUpdate:
        optim, accelerator, zero = (
            self.context.stage.optim,
            self.run.accelerator,
            self.run.parallel.zero,
        )
        optimizer = build_optimizer(parameters, optim, blocks)
        if zero is not None:
            return ZeroUpdate(zero, parameters, optimizer, accelerator, optim.clip_norm)
        return PlainUpdate(parameters, optimizer, accelerator, optim.clip_norm)

    def _hooks(
        self, stepper: Stepper, data: StageData, average: WeightAverage | None
    ) -> list[Hook]:
        """List the stage's hooks, without the checkpoints.

        New rows come before the figures about the model.
        """
        context, run, stage, encoder = self.context, self.run, self.context.stage, stepper.encoder
        readers = Readers(run.accelerator, sharding.is_sharded(encoder))
        hooks: list[Hook] = [StepLog(log=run.metrics, every=stage.log_every)]
        if isinstance(stepper.examples, ExampleStream):
            hooks.append(StreamMark(examples=stepper.examples))
        if average is not None:
            hooks.append(average)
        if stage.refresh is not None:
            sources = stage.data.all_sources if run.texts is None else ()
            refresher = stage.refresh.build(data.items, seed=context.recipe.seed, sources=sources)
            folder = context.checkpoint_folder
            hooks.append(
                NegativeRefresh(
                    refresher=refresher, stepper=stepper, folder=folder, log=run.metrics
                )
            )
        heldout = open_heldout(context, encoder, stepper.objective, data.held_out)
        if heldout is not None and stage.heldout is not None:
            every = stage.heldout.every
            hooks.append(
                HeldOutLoss(
                    heldout=heldout, encoder=encoder, every=every, readers=readers, log=run.metrics
                )
            )
        hooks.append(
            Measurements(
                measurements=self._measurements(encoder, data, readers),
                encoder=encoder,
                eval=stage.eval,
                save_every=stage.save_every,
                readers=readers,
                log=run.metrics,
                average=average,
            )
        )
        return hooks

    def _measurements(
        self, encoder: Encoder, data: StageData, readers: Readers
    ) -> Sequence[Measurement]:
        stage = self.context.stage
        watch = CollapseWatch(
            product_of(stage).watched(data.texts),
            seed=self.context.recipe.seed,
            stage=stage.name,
            action=stage.on_collapse,
            remedy=stage.objective.collapse_remedy,
        )
        measurements: list[Measurement] = [
            CollapseAlarm(watch=watch, encoder=encoder, readers=readers)
        ]
        if stage.eval is not None:
            metric = devmetric.dev_metric(stage.eval.metric, rows=data.items)
            measurements.append(
                DevMeasurement(
                    metric=metric,
                    encoder=encoder,
                    config=stage.eval,
                    stage=stage.name,
                    readers=readers,
                )
            )
        return measurements


def _averaged(stage: Stage) -> tuple[int, int] | None:
    """Return how many checkpoints are averaged in the end, and the steps between them."""
    average = stage.average
    if average is None or average.checkpoints is None or average.every is None:
        return None
    return average.checkpoints, average.every
