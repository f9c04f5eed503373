"""Builds the order of a stage's examples from its config."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from bothways.data.batches import TaskRows, rows_by_task
from bothways.encoder.encoder import Encoder
from bothways.errors import InputError
from bothways.objectives.objective import Objective
from bothways.training.loop.optimizer_step import Examples
from bothways.training.loop.randomness import BatchOrder, Order
from bothways.training.stage.stage_context import StageContext
from bothways.training.stage.stage_data import StageData
from bothways.training.stream.example_stream import ExampleStream, StreamOrder

log = logging.getLogger("bothways")


def stage_examples(
    context: StageContext,
    data: StageData,
    objective: Objective[Any],
    encoder: Encoder,
    processes: int,
) -> tuple[Examples, BatchOrder]:
    """Make the examples of a stage, and their order. A stream is opened, and not read yet.

    Args:
        context: the stage.
        data: its data.
        objective: built for the encoder.
        encoder: opened for the stage.
        processes: number of processes of the run.

    Raises:
        InputError: if there are fewer examples than one optimizer step takes.
    """
    if data.stream is None:
        examples = data.first(objective.prepare(data.items, encoder))
        return examples, stage_order(context, data.groups_of(len(examples)), processes)
    stage = context.stage
    assert stage.data.stream is not None

    def prepare(items: list[Any]) -> Sequence[Any]:
        objective.forget()
        return objective.prepare(items, encoder)

    order = StreamOrder(
        size=stage.batch.size, accumulation=stage.batch.accumulation, world=processes
    )
    stream = ExampleStream(
        data.stream.shards,
        prepare,
        buffer=stage.data.stream.buffer,
        step=order.global_size,
        seed=context.recipe.seed,
        stage=context.index,
        name=f"stages.{stage.name}",
    )
    return stream, order


def stage_order(context: StageContext, groups: Sequence[TaskRows], processes: int) -> Order:
    """Build the order of a stage's examples.

    Args:
        context: the stage.
        groups: its examples, by task and weight.
        processes: number of processes of the run.

    Raises:
        InputError: if there are fewer examples than one optimizer step takes.
    """
    stage = context.stage
    order = Order(
        groups,
        size=stage.batch.size,
        accumulation=stage.batch.accumulation,
        world=processes,
        seed=context.recipe.seed,
        stage=context.index,
        batches=stage.data.batches,
    )
    step = (
        f"one step takes {order.global_size} (batch.size {stage.batch.size} x accumulation {stage.batch.accumulation} x "
        f"{processes} processes)"
    )
    tasks = rows_by_task(groups)
    if order.steps_per_epoch == 0:
        found = (
            f"{sum(tasks.values())} examples"
            if order.kind == "blended"
            else f"{max(tasks.values())} of one task at most"
        )
        raise InputError(
            f"stages.{stage.name}: the data gives {found}, and {step}; give more text or a smaller batch"
        )
    left_out = [task for task, rows in tasks.items() if rows < order.global_size]
    if order.kind == "homogeneous" and left_out:
        log.warning(
            "stages.%s: no batch of the tasks %s is ever full, because %s",
            stage.name,
            ", ".join(left_out),
            step,
        )
    return order
