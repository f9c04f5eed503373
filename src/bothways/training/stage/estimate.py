"""The dry run: what a recipe would cost, measured on single micro-batches, with nothing written.

It stands apart because it must not share the trainer's folders. Every stage is measured on the base model: the stages' own starts do
not exist yet, and cost depends on shapes only.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from accelerate import Accelerator

from bothways.training.loop import precision
from bothways.training.loop.optim import build_optimizer
from bothways.training.loop.optimizer_step import Stepper, token_count, trainable_parameters
from bothways.training.loop.stage_run import order_of
from bothways.training.loop.update import PlainUpdate
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.stage_data import GivenTexts, read_stage_data
from bothways.training.stage.stage_setup import open_base, ready


@dataclass(frozen=True)
class StageEstimate:
    """Cost of one stage.

    Attributes:
        name, objective: which stage.
        texts, examples: training texts or rows, and what the objective made of them.
        trainable, parameters: numbers of trained and of all parameters.
        steps, horizon: optimiser steps taken, and those over which the rate decays.
        tokens: in the whole stage, over all processes.
        seconds: of the whole stage, without evaluations.
        memory: bytes at the peak: of the process on a CPU, allocated on a GPU.
        dtype: of the matrix products.
    """

    name: str
    objective: str
    texts: int
    examples: int
    trainable: int
    parameters: int
    steps: int
    horizon: int
    tokens: int
    seconds: float
    memory: int
    dtype: str


@dataclass(frozen=True)
class DryRun:
    """What a run would be: the resolved recipe and the cost of each stage."""

    recipe: Recipe
    stages: tuple[StageEstimate, ...]
    device: str
    processes: int

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(stage.seconds for stage in self.stages)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "recipe": self.recipe.resolved(),
            "device": self.device,
            "processes": self.processes,
            "seconds": self.seconds,
            "stages": [asdict(stage) for stage in self.stages],
        }


def estimate(recipe: Recipe, accelerator: Accelerator, texts: GivenTexts = None) -> DryRun:
    """Measure every stage of a recipe; see `bothways.train` for the arguments."""
    stages = tuple(_measure(recipe, index, accelerator, texts) for index in range(len(recipe.stages)))
    return DryRun(recipe, stages, str(accelerator.device), accelerator.num_processes)


def _measure(recipe: Recipe, index: int, accelerator: Accelerator, given: GivenTexts) -> StageEstimate:
    stage = recipe.stages[index]
    data = read_stage_data(stage, given)
    chosen = precision.choose(recipe.dtype, accelerator.device, adapter=stage.adapter is not None)
    encoder = open_base(recipe, device=accelerator.device, dtype=chosen.weights, stage=stage)
    with ready(recipe, index, encoder, chosen) as objective:
        examples = data.first(objective.prepare(data.items, encoder))
        order = order_of(recipe, index, data.laid_out(len(examples)), accelerator.num_processes)
        parameters = trainable_parameters(encoder, objective)
        stepper = Stepper(
            encoder=encoder,
            objective=objective,
            examples=examples,
            order=order,
            update=PlainUpdate(parameters, build_optimizer(parameters, stage.optim), accelerator, stage.optim.clip_norm),
            accelerator=accelerator,
            accumulation=1,
            seed=recipe.seed,
            stage=index,
        )
        encoder.train()
        objective.train()
        seconds, memory = _timed(stepper)
        tokens = token_count(stepper.batch(0, 0))
    steps = stage.optim.stop(order.steps_per_epoch)
    return StageEstimate(
        name=stage.name,
        objective=stage.objective.kind,
        texts=len(data.items),
        examples=len(examples),
        trainable=sum(parameter.numel() for parameter in parameters.values()),
        parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        steps=steps,
        horizon=stage.optim.horizon(order.steps_per_epoch),
        tokens=tokens * stage.batch.accumulation * accelerator.num_processes * steps,
        seconds=seconds * stage.batch.accumulation * steps,
        memory=memory,
        dtype=str(chosen.compute).removeprefix("torch."),
    )


def _timed(stepper: Stepper) -> tuple[float, int]:
    """Seconds of the second of two micro-batches (the first compiles kernels and fills caches), and bytes at the peak."""
    device = stepper.accelerator.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    # at rate 0 the throw-away model stays as it is, so the second step is as the first of training
    stepper(0, 0.0)
    begin = time.perf_counter()
    stepper(0, 0.0)
    seconds = time.perf_counter() - begin
    if device.type == "cuda":
        return seconds, int(torch.cuda.max_memory_allocated(device))
    return seconds, _process_peak()


def _process_peak() -> int:
    """Largest resident size of this process so far, in bytes; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # bytes on macOS, kibibytes elsewhere
    return int(peak if sys.platform == "darwin" else peak * 1024)
