"""The dry run: measures the cost of a recipe on single micro-batches, and writes nothing.

Every stage is measured on the base model. The stages' own starts do not exist yet, and the cost
depends on shapes only.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from accelerate import Accelerator

from bothways.backbone.adapter.four_bits import whole_count
from bothways.training.loop import precision
from bothways.training.loop.optim import block_count, build_optimizer
from bothways.training.loop.optimizer_step import Stepper, token_count, trainable_parameters
from bothways.training.loop.weight_update import PlainUpdate
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.base_encoder import open_base
from bothways.training.stage.stage_context import StageContext
from bothways.training.stage.stage_data import GivenTexts, read_stage_data
from bothways.training.stage.stage_order import stage_examples
from bothways.training.stage.stage_setup import ready, start_device


@dataclass(frozen=True)
class StageEstimate:
    """Cost of one stage.

    Attributes:
        name: the stage's name.
        objective: kind of its objective, for example mntp.
        texts: number of training texts or rows, or None for a stream.
        examples: number of examples that the objective makes of them, or None for a stream.
        trainable: number of trained parameters.
        parameters: number of all parameters.
        steps: optimizer steps that are taken.
        horizon: optimizer steps over which the learning rate decays.
        tokens: tokens of the whole stage, over all processes.
        seconds: of the whole stage, without evaluations.
        memory: bytes at the peak. On a CPU of the process, on a GPU allocated.
        dtype: type of the matrix products.
    """

    name: str
    objective: str
    texts: int | None
    examples: int | None
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
    """The result of a dry run: the recipe with all defaults, and the cost of each stage."""

    recipe: Recipe
    stages: tuple[StageEstimate, ...]
    device: str
    processes: int

    @property
    def seconds(self) -> float:
        """Seconds of all stages together, without evaluations."""
        return sum(stage.seconds for stage in self.stages)

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON types."""
        return {
            "recipe": self.recipe.resolved(),
            "device": self.device,
            "processes": self.processes,
            "seconds": self.seconds,
            "stages": [asdict(stage) for stage in self.stages],
        }


def estimate(recipe: Recipe, accelerator: Accelerator, texts: GivenTexts = None) -> DryRun:
    """Measure every stage of a recipe; see `bothways.train` for the arguments."""
    stages = tuple(_measure(context, accelerator, texts) for context in StageContext.all_of(recipe))
    return DryRun(recipe, stages, str(accelerator.device), accelerator.num_processes)


def _measure(context: StageContext, accelerator: Accelerator, given: GivenTexts) -> StageEstimate:
    recipe, stage = context.recipe, context.stage
    data = read_stage_data(stage, given)
    chosen = precision.choose(recipe.dtype, accelerator.device, adapter=stage.adapter is not None)
    device, place = start_device(context, accelerator.device)
    encoder = open_base(context, device=device, dtype=chosen.weights)
    with ready(context, encoder, chosen, place) as objective:
        examples, order = stage_examples(
            context, data, objective, encoder, accelerator.num_processes
        )
        parameters = trainable_parameters(encoder, objective)
        stepper = Stepper(
            encoder=encoder,
            objective=objective,
            examples=examples,
            order=order,
            update=PlainUpdate(
                parameters,
                build_optimizer(parameters, stage.optim, block_count(encoder)),
                accelerator,
                stage.optim.clip_norm,
            ),
            accelerator=accelerator,
            accumulation=1,
            seed=recipe.seed,
            stage=context.index,
        )
        encoder.train()
        objective.train()
        seconds, memory = _timed(stepper)
        tokens = token_count(stepper.batch(0, 0))
    steps = stage.optim.stop(order.steps_per_epoch)
    return StageEstimate(
        name=stage.name,
        objective=stage.objective.kind,
        texts=None if order.examples is None else len(data.items),
        examples=order.examples,
        trainable=sum(parameter.numel() for parameter in parameters.values()),
        parameters=whole_count(encoder),
        steps=steps,
        horizon=stage.optim.horizon(order.steps_per_epoch),
        tokens=tokens * stage.batch.accumulation * accelerator.num_processes * steps,
        seconds=seconds * stage.batch.accumulation * steps,
        memory=memory,
        dtype=str(chosen.compute).removeprefix("torch."),
    )


def _timed(stepper: Stepper) -> tuple[float, int]:
    """Run two micro-batches. Return the seconds of the second one and the bytes at the peak.

    The first one compiles kernels and fills caches.
    """
    device = stepper.accelerator.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    # At learning rate 0 the model does not change, so the second step is like the first of
    # training.
    stepper(0, 0.0)
    begin = time.perf_counter()
    stepper(0, 0.0)
    seconds = time.perf_counter() - begin
    if device.type == "cuda":
        return seconds, int(torch.cuda.max_memory_allocated(device))
    return seconds, _process_peak()


def _process_peak() -> int:
    """Return the largest resident size of this process so far, in bytes, or 0 if it is unknown."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # bytes on macOS, kibibytes elsewhere
    return int(peak if sys.platform == "darwin" else peak * 1024)
