"""One optimiser step: gather its micro-batches, normalise over all of them, backward, clip, update.

It stands apart because here accumulation, ragged batches and processes are made equal: a loss is a sum and a count; the counts of
every micro-batch and process are added *before* the first backward pass, and each backward pass is scaled by 1 / total. Gradients
of micro-batches and processes are sums then. They are added over processes here, once per step, rather than by wrapping the model
in DistributedDataParallel: a gradient cache runs many backward passes per step, a head runs outside the backbone's forward, and the
few trainable parameters make one exchange cheap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import nn

from bothways.encoder.batch import TokenBatch
from bothways.encoder.encoder import Encoder
from bothways.errors import BothwaysError
from bothways.objectives.base import Objective
from bothways.training.loop.randomness import Order, derive, generator
from bothways.training.loop.update import Update


class StepResult(NamedTuple):
    """What one optimiser step did, over all micro-batches and processes."""

    loss: float
    grad_norm: float
    lr: float
    tokens: int
    metrics: dict[str, float]
    interrupted: bool


class Diverged(BothwaysError):
    """Loss or gradient is not a finite number."""


@dataclass
class Stepper:
    """Everything a step needs; call it with the step's number and learning rate.

    Attributes:
        update: of the trained parameters.
        seed, stage: with step, micro-batch and process they fix all randomness.
    """

    encoder: Encoder
    objective: Objective
    examples: Sequence[Any]
    order: Order
    update: Update
    accelerator: Accelerator
    accumulation: int
    seed: int
    stage: int

    def __call__(self, step: int, lr: float, *, interrupted: bool = False) -> StepResult:
        """Take optimiser step `step` (from 0).

        Args:
            step: its number.
            lr: learning rate.
            interrupted: whether this process has been asked to stop; returned for all processes together.

        Raises:
            Diverged: loss or gradient is not finite; no parameter has been changed by this step.
        """
        batches = [self.batch(step, micro) for micro in range(self.accumulation)]
        counts = [self.objective.count(batch) for batch in batches]
        tokens = sum(token_count(batch) for batch in batches)
        total, tokens, stops = (int(n) for n in self._sum([sum(counts), tokens, interrupted]))
        self.update.begin()
        sums: dict[str, float] = {}
        for micro, batch in enumerate(batches):
            result = self.objective.step(
                self.encoder,
                batch.to(self.accelerator.device),
                # a step without a single label has loss 0, not 0 / 0
                scale=1.0 / max(1, total),
                backward=partial(self.update.backward, last=micro == len(batches) - 1),
                seed=derive(self.seed, "step", self.stage, step, micro, self.accelerator.process_index),
            )
            count = int(result["count"])
            for name, value in result.items():
                if name != "count":
                    sums[name] = sums.get(name, 0.0) + float(value) * (1 if name == "loss_sum" else count)
        names = sorted(sums)
        values = dict(zip(names, self._sum([sums[name] for name in names])))
        means = {name: value / max(1, total) for name, value in values.items()}
        loss = means.pop("loss_sum")
        grad_norm = self.update.finish()
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise Diverged(
                f"step {step + 1}: loss {loss}, gradient norm {grad_norm}; lower optim.lr or train with dtype float32"
            )
        self.update.step(lr)
        return StepResult(loss, grad_norm, lr, tokens, means, stops > 0)

    def batch(self, step: int, micro: int) -> Any:
        """One collated micro-batch of this process, on the CPU."""
        process = self.accelerator.process_index
        rows = self.order.rows(step, micro, process)
        return self.objective.collate(
            [self.examples[row] for row in rows], generator(self.seed, "data", self.stage, step, micro, process)
        )

    def _sum(self, values: Sequence[float]) -> list[float]:
        if self.accelerator.num_processes == 1:
            return [float(value) for value in values]
        # not every device has float64 (MPS); counts stay exact in float32 up to 2^24 and these go through the CPU's type otherwise
        wide = torch.float32 if self.accelerator.device.type == "mps" else torch.float64
        tensor = torch.tensor([float(value) for value in values], dtype=wide, device=self.accelerator.device)
        return [float(value) for value in self.accelerator.reduce(tensor, "sum")]


def token_count(batch: Any) -> int:
    """Tokens of real texts in a batch: over every TokenBatch it holds, whatever the objective's batch looks like."""
    if isinstance(batch, TokenBatch):
        return batch.tokens
    if isinstance(batch, (list, tuple)):
        return sum(token_count(part) for part in batch)
    if is_dataclass(batch):
        return sum(token_count(getattr(batch, each.name)) for each in fields(batch))
    return 0


def trainable_parameters(encoder: nn.Module, objective: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that require a gradient, each once, under the prefixes `encoder.` and `objective.`."""
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for prefix, module in (("encoder", encoder), ("objective", objective)):
        for name, parameter in module.named_parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{prefix}.{name}"] = parameter
    return found
