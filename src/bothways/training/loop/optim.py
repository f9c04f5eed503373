"""AdamW, and the learning rate as a function of the step.

The decay horizon and the stop are two things: LLM2Vec decays over three epochs and stops at step
1000, when the learning rate is still about 96 % of its peak. The rate is computed, not accumulated,
so resuming needs no schedule state.

Papers: AdamW, https://arxiv.org/abs/1711.05101. Schedules follow the definitions of the Hugging
Face Trainer, with which the published runs were made.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from bothways.config import Strict
from bothways.training.parallel.sharding import replicated

log = logging.getLogger("bothways")


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
    schedule: Literal["linear", "cosine", "constant", "wsd"] = Field(
        default="linear",
        description="after the warm-up. wsd: constant, then a decay over the last decay_ratio of the horizon",
    )
    min_lr_ratio: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of the peak that linear, cosine and wsd end at. If null, 0",
    )
    decay_ratio: float | None = Field(
        default=None, gt=0, le=1, description="wsd: share of the horizon that decays. If null, 0.1"
    )
    decay_shape: Literal["linear", "cosine", "1-sqrt"] | None = Field(
        default=None, description="wsd: how the rate falls. If null, linear"
    )
    warmup_steps: int = Field(default=0, ge=0, description="linear from 0")
    warmup_ratio: float = Field(
        default=0.0, ge=0, le=1, description="share of the horizon; instead of warmup_steps"
    )
    pooling_lr: float | None = Field(
        default=None,
        gt=0,
        description="peak rate of a trained pooling and the layers behind it. If null, lr",
    )
    embedding_lr: float | None = Field(
        default=None, gt=0, description="peak rate of the embeddings. If null, lr"
    )
    layer_decay: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="factor on the rate from each block to the one below, e.g. 0.9; the embeddings come below the first",
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
        if self.schedule != "wsd" and (self.decay_ratio or self.decay_shape):
            raise ValueError(
                f"decay_ratio and decay_shape belong to the schedule wsd, not to {self.schedule}; set schedule to wsd"
            )
        if self.schedule == "constant" and self.min_lr_ratio:
            raise ValueError(
                "min_lr_ratio: a constant rate does not fall; use schedule cosine, linear or wsd"
            )
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

    During a warm-up of w steps it is step / w. Afterwards it is m + (1 - m) · f(t), with m the
    minimum, t = (step - w) / (horizon - w) the progress, and f(t) = 1 - t (linear),
    (1 + cos(pi t)) / 2 (cosine), or 1 (constant). With wsd (warm-up, stable, decay; MiniCPM,
    arXiv 2404.06395, §4) f is 1 until the last d = decay_ratio · horizon steps, and then 1 - u,
    (1 + cos(pi u)) / 2 or 1 - sqrt(u), with u = (step - (horizon - d)) / d. MiniCPM decays over a
    tenth. 1 - sqrt is the best shape in arXiv 2405.18392, §3.
    """
    warmup = config.warmup_steps or math.ceil(config.warmup_ratio * horizon)
    if step < warmup:
        return step / warmup
    if config.schedule == "constant":
        return 1.0
    lowest = config.min_lr_ratio or 0.0
    if config.schedule == "wsd":
        decay = min(horizon - warmup, math.ceil((config.decay_ratio or 0.1) * horizon))
        progress = (step - (horizon - decay)) / max(1, decay)
        shape = config.decay_shape or "linear"
    else:
        progress = (step - warmup) / max(1, horizon - warmup)
        shape = config.schedule
    return lowest + (1.0 - lowest) * _fall(shape, min(1.0, max(0.0, progress)))


def _fall(shape: str, progress: float) -> float:
    if shape == "linear":
        return 1.0 - progress
    if shape == "1-sqrt":
        return 1.0 - math.sqrt(progress)
    return 0.5 * (1.0 + math.cos(math.pi * progress))


_BLOCK = re.compile(r"\.(\d+)\.")
"""The number of a block in a parameter's name, such as layers.3.mlp.up_proj.weight."""
_EMBEDDINGS = ("embed", "wte.", "wpe.")


def rate_share(config: OptimConfig, name: str, blocks: int) -> float:
    """Return the rate of a parameter as a share of `lr`.

    Args:
        config: the rates.
        name: the parameter's name, as in `trainable_parameters`.
        blocks: number of blocks of the backbone. With layer_decay δ, block b of B has
            δ^(B - 1 - b), and the embeddings have δ^B (ULMFiT's discriminative rates, arXiv
            1801.06146, §3.1, δ = 1 / 2.6 there). Norms above the blocks, poolings and heads keep
            the whole rate.
    """
    part = _part(name)
    if part == "pooling":
        return (config.pooling_lr or config.lr) / config.lr
    if isinstance(part, int):
        return (config.layer_decay or 1.0) ** (blocks - 1 - part)
    if part != "embeddings":
        return 1.0
    if config.embedding_lr is not None:
        return config.embedding_lr / config.lr
    return (config.layer_decay or 1.0) ** blocks


def _part(name: str) -> int | Literal["pooling", "embeddings", "other"]:
    """Return the part of the model that a parameter belongs to: for a block, its number."""
    if name.startswith("encoder.pooling."):
        return "pooling"
    if not name.startswith("encoder.backbone."):
        return "other"
    block = _BLOCK.search(name)
    if block is not None:
        return int(block[1])
    return "embeddings" if any(part in name for part in _EMBEDDINGS) else "other"


def warn_of_idle_rates(names: Iterable[str], config: OptimConfig, stage: str) -> None:
    """Log a warning for each rate of a part that the stage does not train.

    A recipe may set one rate for stages that train different parts, so this is not an error.

    Args:
        names: of the trained parameters, as in `trainable_parameters`.
        config: the rates.
        stage: name of the stage.
    """
    parts = {_part(name) for name in names}
    trained = {
        "pooling_lr": ("pooling", "pooling" in parts),
        "embedding_lr": ("embeddings", "embeddings" in parts),
        "layer_decay": ("blocks", any(isinstance(part, int) for part in parts)),
    }
    for key, (part, there) in trained.items():
        if getattr(config, key) is not None and not there:
            log.warning(
                "stages.%s.optim.%s: has no effect, because the stage does not train the %s",
                stage,
                key,
                part,
            )


def block_count(encoder: nn.Module) -> int:
    """Count the blocks of an encoder's backbone, by the numbers in its parameters' names."""
    names = (name for name, _ in encoder.named_parameters() if name.startswith("backbone."))
    found = map(_BLOCK.search, names)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def build_optimizer(
    parameters: Mapping[str, nn.Parameter], config: OptimConfig, blocks: int = 0
) -> torch.optim.AdamW:
    """Build AdamW over named parameters. Weight decay applies to matrices, not to vectors.

    Vectors are biases and norms. Parameters with one share of the rate form a group, which holds it
    as "share".

    Args:
        parameters: the trained ones by name.
        config: rates and decay.
        blocks: number of blocks of the backbone. Needed for `layer_decay` alone.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        key = (rate_share(config, name, blocks), parameter.ndim > 1)
        groups.setdefault(key, []).append(parameter)
    # Torch chooses the loop. Only its loop over many tensors at once does not accept shards
    # together with whole tensors.
    foreach = None if len(replicated(parameters.values())) == len(parameters) else False
    optimizer = torch.optim.AdamW(
        [
            {
                "params": members,
                "weight_decay": config.weight_decay if matrices else 0.0,
                **({} if share == 1 else {"share": share}),
            }
            for (share, matrices), members in sorted(groups.items(), key=lambda item: item[0])[::-1]
        ],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        foreach=foreach,
    )
    set_lr(optimizer, config.lr)
    return optimizer


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate `lr` in every parameter group, times the group's share."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("share", 1.0)
