"""AdamW, and the learning rate as a function of the step.

The decay horizon and the stop are two things: LLM2Vec decays over three epochs and stops at step
1000, when the learning rate is still about 96 % of its peak. The rate is computed, not accumulated,
so resuming needs no schedule state.

Papers: AdamW, https://arxiv.org/abs/1711.05101. Schedules follow the definitions of the Hugging
Face Trainer, with which the published runs were made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from bothways.config import Strict
from bothways.training.parallel.sharding import replicated


class OptimConfig(Strict):
    """Optimizer, learning rate and length of a stage.

    Defaults are the Hugging Face Trainer's, as in the published scripts.
    """

    lr: float = Field(default=5e-5, gt=0, description="peak learning rate")
    weight_decay: float = Field(
        default=0.0, ge=0, description="decoupled weight decay; not on biases and norms"
    )
    betas: tuple[float, float] = Field(
        default=(0.9, 0.999), description="decay of the first and second moment"
    )
    eps: float = Field(default=1e-8, gt=0)
    schedule: Literal["linear", "cosine", "constant"] = Field(
        default="linear", description="after the warm-up"
    )
    warmup_steps: int = Field(default=0, ge=0, description="linear from 0")
    warmup_ratio: float = Field(
        default=0.0, ge=0, le=1, description="share of the horizon; instead of warmup_steps"
    )
    clip_norm: float | None = Field(
        default=1.0, gt=0, description="largest norm of the whole gradient; null: no clipping"
    )
    epochs: float | None = Field(
        default=None,
        gt=0,
        description="decay horizon in passes over the data; 3 when nothing is set",
    )
    steps: int | None = Field(
        default=None, ge=1, description="decay horizon in optimizer steps; instead of epochs"
    )
    stop_after_steps: int | None = Field(
        default=None,
        ge=1,
        description="stop after this step, even if the rate decays over a longer horizon",
    )

    @model_validator(mode="after")
    def _one_of(self) -> OptimConfig:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("set either epochs or steps as the horizon, not both")
        if self.warmup_steps and self.warmup_ratio:
            raise ValueError("set either warmup_steps or warmup_ratio, not both")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), got {self.betas}")
        return self

    def horizon(self, steps_per_epoch: int) -> int:
        """Return the optimizer steps over which the learning rate decays, at least 1."""
        if self.steps is not None:
            return self.steps
        return max(1, math.ceil((3.0 if self.epochs is None else self.epochs) * steps_per_epoch))

    def stop(self, steps_per_epoch: int) -> int:
        """Return the optimizer steps that are taken: the horizon, or fewer."""
        horizon = self.horizon(steps_per_epoch)
        return horizon if self.stop_after_steps is None else min(horizon, self.stop_after_steps)


def lr_factor(config: OptimConfig, step: int, horizon: int) -> float:
    """Return the learning rate of step `step` (from 0) as a share of the peak, in [0, 1].

    During a warm-up of w steps it is step / w. Afterwards, with progress t = (step - w) / (horizon
    - w), it is 1 - t (linear), (1 + cos(pi t)) / 2 (cosine), or 1 (constant).
    """
    warmup = config.warmup_steps or math.ceil(config.warmup_ratio * horizon)
    if step < warmup:
        return step / warmup
    if config.schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, horizon - warmup))
    return (
        1.0 - progress
        if config.schedule == "linear"
        else 0.5 * (1.0 + math.cos(math.pi * progress))
    )


def build_optimizer(
    parameters: Mapping[str, nn.Parameter], config: OptimConfig
) -> torch.optim.AdamW:
    """Build AdamW over named parameters. Weight decay applies to matrices, not to vectors.

    Vectors are biases and norms.
    """
    matrices = [parameter for parameter in parameters.values() if parameter.ndim > 1]
    vectors = [parameter for parameter in parameters.values() if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    # Torch chooses the loop. Only its loop over many tensors at once does not accept shards
    # together with whole tensors.
    foreach = None if len(replicated(parameters.values())) == len(parameters) else False
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        foreach=foreach,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate `lr` in every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr
