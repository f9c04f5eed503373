"""One optimizer step: gather its micro-batches, normalize over all of them, backward, clip, update.

Accumulation, ragged batches and processes give equal results, because a loss is a sum and a count.
The counts of every micro-batch and process are added *before* the first backward pass, and each
backward pass is scaled by 1 / total. So gradients of micro-batches and processes simply add up.

They are added over processes here, once per step. The model is not wrapped in
DistributedDataParallel, because a gradient cache runs many backward passes per step, a head runs
outside the backbone's forward, and the few trainable parameters make one exchange cheap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple, Protocol

import torch
from accelerate import Accelerator
from torch import nn

from bothways.encoder.batch import TokenBatch
from bothways.encoder.encoder import Encoder
from bothways.errors import BothwaysError
from bothways.objectives.objective import Objective, PassBackward
from bothways.objectives.step_output import StepTotals
from bothways.training.loop.randomness import BatchOrder, derive, generator
from bothways.training.loop.weight_update import WeightUpdate


class StepResult(NamedTuple):
    """The figures of one optimizer step, over all micro-batches and processes.

    Attributes:
        loss: mean over all labels.
        grad_norm: norm of the whole gradient before clipping.
        lr: learning rate of the step.
        tokens: tokens of real texts, without fillers.
        metrics: means over all labels by name, sorted.
        interrupted: True if any process has been asked to stop.
    """

    loss: float
    grad_norm: float
    lr: float
    tokens: int
    metrics: dict[str, float]
    interrupted: bool


class Examples(Protocol):
    """Examples by number: a sequence, or a stream."""

    def __getitem__(self, number: int, /) -> Any:
        """Return an example."""
        ...


class Diverged(BothwaysError):
    """The loss or the gradient is not a finite number."""


@dataclass(kw_only=True)
class Stepper:
    """Takes optimizer steps. Call it with the step's number and learning rate.

    Attributes:
        encoder: in training mode.
        objective: built for the encoder.
        examples: from `Objective.prepare`, or a stream of them.
        order: which examples belong to which micro-batch.
        update: changes the trained parameters.
        accelerator: its processes and device.
        accumulation: micro-batches per step and process.
        seed, stage: with step, micro-batch and process they determine all randomness.
    """

    encoder: Encoder
    objective: Objective[Any]
    examples: Examples
    order: BatchOrder
    update: WeightUpdate
    accelerator: Accelerator
    accumulation: int
    seed: int
    stage: int

    def __call__(self, step: int, lr: float, *, interrupted: bool = False) -> StepResult:
        """Take optimizer step `step` (from 0).

        Args:
            step: its number.
            lr: learning rate.
            interrupted: True if this process has been asked to stop. The result says so if any
                process has.

        Raises:
            Diverged: if the loss or the gradient is not finite. The step has changed no parameter.
        """
        batches = [self.batch(step, micro) for micro in range(self.accumulation)]
        counts = [self.objective.count(batch) for batch in batches]
        tokens = sum(token_count(batch) for batch in batches)
        total, tokens, stops = (int(n) for n in self._sum([sum(counts), tokens, interrupted]))
        # A step without a single label has loss 0, not 0 / 0.
        total = max(1, total)
        self.update.begin()
        totals = StepTotals()
        for micro, batch in enumerate(batches):
            output = self.objective.step(
                self.encoder,
                batch.to(self.accelerator.device),
                scale=1.0 / total,
                backward=self._backward(last_batch=micro == len(batches) - 1),
                seed=derive(
                    self.seed, "step", self.stage, step, micro, self.accelerator.process_index
                ),
            )
            totals.add(output)
        names = sorted(totals.metrics)
        loss, *means = (
            n / total
            for n in self._sum([totals.loss_sum, *(totals.metrics[name] for name in names)])
        )
        grad_norm = self.update.finish()
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise Diverged(
                f"step {step + 1}: loss {loss}, gradient norm {grad_norm}; lower optim.lr or train with dtype float32"
            )
        self.update.step(lr)
        return StepResult(loss, grad_norm, lr, tokens, dict(zip(names, means)), stops > 0)

    def _backward(self, *, last_batch: bool) -> PassBackward:
        """Return the backward pass of a micro-batch."""
        update = self.update
        return PassBackward(
            lambda loss, last: update.backward(loss, last=last and last_batch),
            together=update.together,
        )

    def batch(self, step: int, micro: int) -> Any:
        """Collate one micro-batch of this process, on the CPU."""
        process = self.accelerator.process_index
        rows = self.order.rows(step, micro, process)
        return self.objective.collate(
            [self.examples[row] for row in rows],
            generator(self.seed, "data", self.stage, step, micro, process),
        )

    def _sum(self, values: Sequence[float]) -> list[float]:
        """Add up each value over all processes."""
        if self.accelerator.num_processes == 1:
            return [float(value) for value in values]
        # MPS has no float64. Counts stay exact in float32 up to 2^24.
        wide = torch.float32 if self.accelerator.device.type == "mps" else torch.float64
        tensor = torch.tensor(
            [float(value) for value in values], dtype=wide, device=self.accelerator.device
        )
        return [float(value) for value in self.accelerator.reduce(tensor, "sum")]


def token_count(batch: object) -> int:
    """Count the tokens of real texts in a batch of any objective, over every TokenBatch in it."""
    if isinstance(batch, TokenBatch):
        return batch.tokens
    if isinstance(batch, (list, tuple)):
        return sum(token_count(part) for part in batch)
    if is_dataclass(batch):
        return sum(token_count(getattr(batch, each.name)) for each in fields(batch))
    return 0


def trainable_parameters(encoder: nn.Module, objective: nn.Module) -> dict[str, nn.Parameter]:
    """Collect the parameters that require a gradient, by name.

    Names start with `encoder.` or `objective.`. A shared parameter appears once, under its first
    name.
    """
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for prefix, module in (("encoder", encoder), ("objective", objective)):
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{prefix}.{name}"] = parameter
    return found
