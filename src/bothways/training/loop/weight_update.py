"""From gradients to changed parameters: sum over processes, clip, update.

Whole parameters, shards of FSDP2 and the parts of DeepSpeed (`zero.py`) differ only here. A step
(`optimizer_step.py`) knows none of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from bothways.moved import old_names
from bothways.training.loop.optim import set_lr
from bothways.training.parallel import sharding

EXCHANGED = 1 << 26
"""Numbers exchanged at a time, 256 MB. A flat copy of all gradients would double their memory."""


class WeightUpdate(Protocol):
    """The second half of an optimizer step.

    Attributes:
        together: True if every process must take part in `state`, and run equally many passes.
    """

    together: bool

    def begin(self) -> None:
        """Drop the gradients of the step before."""

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Accumulate the gradient of one scaled partial loss.

        Args:
            loss: a scalar. Over all passes and processes these add up to the step's loss.
            last: True for this process's final backward pass of the step.
        """

    def finish(self) -> float:
        """Sum gradients over processes and clip them. Return their norm before clipping."""

    def step(self, lr: float) -> None:
        """Change the parameters."""

    def state(self, *, keep: bool) -> dict[str, Any]:
        """Return the optimizer's state dict with whole tensors.

        If `keep` is False, this process only helps the others, and tensors may be empty or missing.
        """

    def load(self, state: dict[str, Any]) -> None:
        """Take over a state dict from `state`, after the parameters have been restored.

        The dict must not be used afterwards.
        """


class PlainUpdate:
    """An update by torch's own optimizer. Parameters are whole, or some are shards."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        clip_norm: float | None,
    ) -> None:
        """Update `parameters`, over which `optimizer` runs.

        Args:
            parameters: by name, the same on every process.
            optimizer: over these parameters.
            accelerator: processes to sum gradients over.
            clip_norm: maximum norm of the whole gradient. If None, it is not clipped.
        """
        self.parameters = list(parameters.values())
        self.optimizer, self.accelerator, self.clip_norm = optimizer, accelerator, clip_norm
        self._replicated = sharding.replicated(self.parameters)
        self.together = len(self._replicated) < len(self.parameters)

    def begin(self) -> None:
        """See `WeightUpdate`."""
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """See `WeightUpdate`."""
        self.accelerator.backward(loss)

    def finish(self) -> float:
        """See `WeightUpdate`."""
        self._exchange()
        limit = self.clip_norm or math.inf
        if self.together:
            return sharding.clip(self.parameters, limit, self.accelerator)
        norm = self.accelerator.clip_grad_norm_(self.parameters, limit)
        return float(norm) if norm is not None else 0.0

    def step(self, lr: float) -> None:
        """See `WeightUpdate`."""
        set_lr(self.optimizer, lr)
        self.optimizer.step()

    def state(self, *, keep: bool) -> dict[str, Any]:
        """See `WeightUpdate`."""
        return sharding.gathered(self.optimizer, keep=keep)

    def load(self, state: dict[str, Any]) -> None:
        """See `WeightUpdate`."""
        sharding.load_optimizer(self.optimizer, state)

    def _exchange(self) -> None:
        """Add gradients over processes. Shards have been added up already.

        A parameter that is unused on one process counts as zero there.
        """
        if self.accelerator.num_processes == 1:
            return
        bucket: list[nn.Parameter] = []
        size = 0
        for number, parameter in enumerate(self._replicated):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            bucket.append(parameter)
            size += parameter.numel()
            if size >= EXCHANGED or number == len(self._replicated) - 1:
                flat = torch.cat([each.grad.flatten() for each in bucket if each.grad is not None])
                reduced: Any = self.accelerator.reduce(flat, "sum")
                for each, part in zip(bucket, reduced.split([each.numel() for each in bucket])):
                    each.grad = part.view_as(each).clone()
                bucket, size = [], 0


__getattr__ = old_names(__name__)
