"""One stage of a recipe as a typed value: objective, data, optimizer, evaluation."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.config import Strict
from bothways.moved import old_names
from bothways.objectives.causal_lm import CausalLmConfig
from bothways.objectives.contrastive import ContrastiveConfig
from bothways.objectives.distilled import DistilledConfig
from bothways.objectives.graded import GradedConfig
from bothways.objectives.llara import LlaraConfig
from bothways.objectives.mntp import MntpConfig
from bothways.objectives.supervised import SupervisedConfig
from bothways.training.loop.optim import OptimConfig
from bothways.training.recipe.data_config import DataConfig
from bothways.training.stage.negative_refresh import RefreshConfig

AnyObjective = Annotated[
    MntpConfig
    | ContrastiveConfig
    | SupervisedConfig
    | GradedConfig
    | DistilledConfig
    | LlaraConfig
    | CausalLmConfig,
    Field(discriminator="kind"),
]
"""The objective of a stage, chosen by `kind`."""


class BatchConfig(Strict):
    """Rows per optimizer step: size x accumulation x processes."""

    size: int = Field(
        ge=1,
        description="examples of one micro-batch on one process: packed rows for MNTP, texts or labeled rows for contrastive",
    )
    accumulation: int = Field(
        default=1,
        ge=1,
        description="micro-batches per optimizer step; the loss is normalized over all of them",
    )


class EvalConfig(Strict):
    """A development metric, which chooses the best checkpoint. Higher is better."""

    metric: str = Field(
        description="a task as `bothways evaluate` takes it, e.g. sts:FILE or stdlib"
    )
    every: int = Field(
        ge=1, description="optimizer steps between evaluations; the last step is always evaluated"
    )
    also: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None,
        description="further steps after which to evaluate, for example [10, 25]; patience does not count them",
    )
    at_start: bool = Field(default=False, description="measure the untrained stage as well")
    restore_best: bool = Field(
        default=True, description="end the stage with its best checkpoint instead of its last"
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="end the stage after this many evaluations without a better value. If null, never",
    )

    def due(self, step: int) -> bool:
        """Tell if an evaluation follows this step. The last step is not known here."""
        return step % self.every == 0 or step in (self.also or ())


class AverageConfig(Strict):
    """Weights that a stage ends with: an average over its steps, in place of the last ones."""

    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of an exponential average after each step, e.g. 0.99; evaluations and the best checkpoint use it too",
    )
    checkpoints: int | None = Field(
        default=None,
        ge=2,
        description="in place of ema: the mean of the last so many checkpoints",
    )
    every: int | None = Field(
        default=None, ge=1, description="with checkpoints: steps between those that are averaged"
    )

    @model_validator(mode="after")
    def _either_way(self) -> AverageConfig:
        if (self.ema is None) == (self.checkpoints is None):
            raise ValueError("give either ema (a decay) or checkpoints (a number), not both")
        if (self.checkpoints is None) != (self.every is None):
            raise ValueError(
                "every belongs to checkpoints: give both, for example {checkpoints: 3, every: 50}, or ema alone"
            )
        return self


class HeldOutConfig(Strict):
    """Data on which the objective's own loss is read. It never chooses a checkpoint."""

    data: DataConfig | None = Field(
        default=None, description="other data, with keys as in a stage's data"
    )
    share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="in place of data: the first share of the stage's own texts, for example 0.05; they are not trained on",
    )
    every: int = Field(ge=1, description="optimizer steps between readings")
    limit: int | None = Field(
        default=None, ge=1, description="examples (packed rows) read each time; null for all"
    )

    @model_validator(mode="after")
    def _either_way(self) -> HeldOutConfig:
        if (self.data is None) == (self.share is None):
            raise ValueError(
                "give either data (other texts) or share (a part of the stage's texts), not both"
            )
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources of the config's own data."""
        return () if self.data is None else self.data.all_sources


class Stage(Strict):
    """One objective on one data set, from the model before it to the model after it."""

    name: str = Field(description="unique in the recipe; letters, digits, - and _")
    objective: AnyObjective
    data: DataConfig
    optim: OptimConfig = OptimConfig()
    batch: BatchConfig
    adapter: LoraConfig | None = Field(
        default=LoraConfig(), description="LoRA; null trains every weight"
    )
    keep: Literal["adapter", "merged", "both"] = Field(
        default="both",
        description="result of the stage. adapter: only its small adapter, in PEFT's format; merged: a "
        "whole encoder; both: the "
        "encoder, and its adapter in adapters/N-NAME",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="recompute activations in the backward pass, which takes less memory and more time",
    )
    eval: EvalConfig | None = None
    average: AverageConfig | None = Field(
        default=None, description="end with averaged weights. If null, with the last or best ones"
    )
    heldout: HeldOutConfig | None = None
    refresh: RefreshConfig | None = Field(
        default=None,
        description="labeled rows: mine their negatives again with the model in training",
    )
    on_collapse: Literal["warn", "stop"] = Field(
        default="warn", description="action if all texts get the same vector"
    )
    save_every: int | None = Field(
        default=None, ge=1, description="optimizer steps between checkpoints"
    )
    log_every: int = Field(
        default=10, ge=1, description="optimizer steps between lines of metrics.jsonl"
    )

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", value) or value.isdigit():
            raise ValueError(
                "a stage's name is also a folder's name and an address: use letters, digits, - and _, and not only digits"
            )
        return value

    @property
    def keeps_adapter(self) -> bool:
        """True if the stage leaves an adapter in its output folder."""
        return self.adapter is not None and self.keep != "merged"

    @model_validator(mode="after")
    def _keep_fits(self) -> Stage:
        if self.keep == "adapter" and self.adapter is None:
            raise ValueError(
                "keep: there is no adapter if every weight trains; use merged, or give the stage an adapter"
            )
        trained = self.objective.trains
        if self.keep == "adapter" and not trained.has_vectors:
            raise ValueError(
                f"keep: {trained.title} is the base of the next stage, so it is kept whole; use both or merged"
            )
        return self

    @model_validator(mode="after")
    def _average_fits(self) -> Stage:
        if self.average is None or self.average.checkpoints is None:
            return self
        if self.eval is not None and self.eval.restore_best:
            raise ValueError(
                "average.checkpoints: averages the last checkpoints, but eval.restore_best ends with the best one; set "
                "eval.restore_best to false, or use average.ema"
            )
        return self

    @model_validator(mode="after")
    def _heldout_fits(self) -> Stage:
        if self.heldout is not None and not self.objective.measurable:
            raise ValueError(
                "heldout: the two views of a contrastive loss need dropout, so it has no value in evaluation; use eval"
            )
        if (
            self.heldout is not None
            and self.heldout.share is not None
            and self.objective.wants == "examples"
        ):
            raise ValueError(
                "heldout.share: labeled rows have tasks and weights; give the held-out rows as heldout.data"
            )
        return self

    @model_validator(mode="after")
    def _tells_apart(self) -> Stage:
        """Refuse rows without a negative: the loss would be 0 at every step."""
        objective = self.objective
        if isinstance(objective, SupervisedConfig):
            if objective.negatives == 0 and (not objective.in_batch or self.batch.size == 1):
                raise ValueError(
                    "a row has no negative: with objective.negatives 0 set objective.in_batch to true and "
                    "batch.size to 2 or more, or "
                    "set objective.negatives to 1 or more and give rows that have negatives"
                )
        elif isinstance(objective, DistilledConfig):
            if self.batch.size == 1 and (objective.similarities or objective.scores):
                raise ValueError(
                    "batch.size: similarities and scores compare the texts of a batch; use 2 or more, or set both to 0"
                )
        elif isinstance(objective, GradedConfig):
            if self.batch.size == 1:
                raise ValueError(
                    "batch.size: a single pair has no other pair in its batch to be ordered with, so the loss is 0; use 2 or more "
                    "(accumulation does not help)"
                )
        elif isinstance(objective, ContrastiveConfig):
            if self.batch.size == 1:
                raise ValueError(
                    "batch.size: a single text has no other text in its batch to compare with, so the "
                    "loss is 0; use 2 or more "
                    "(accumulation does not help)"
                )
            adapter = 0.0 if self.adapter is None else self.adapter.dropout
            if (
                objective.views == "dropout"
                and adapter == 0 == objective.attention_dropout == objective.hidden_dropout
            ):
                raise ValueError(
                    "objective.views: 'dropout' needs dropout, and all rates are 0, so both views would be equal; set "
                    "objective.attention_dropout (LLM2Vec: 0.3), objective.hidden_dropout (SimCSE: 0.1) "
                    "or adapter.dropout"
                )
        return self

    @model_validator(mode="after")
    def _stream_fits(self) -> Stage:
        stream = self.data.stream
        if self.heldout is not None and self.heldout.data is not None and self.heldout.data.stream:
            raise ValueError(
                "heldout.data.stream: held-out data is read whole; set a limit there in place of stream"
            )
        if stream is None:
            return self
        obstacle = self.objective.stream_obstacle
        if obstacle is not None:
            raise ValueError(f"data.stream: {obstacle}; leave stream out")
        if self.optim.steps is None:
            raise ValueError(
                "data.stream: a stream does not tell its length, so a stage cannot last a number of epochs; set optim.steps "
                "(and optim.epochs to null, if it is set)"
            )
        if self.refresh is not None:
            raise ValueError(
                "data.stream: refresh mines the negatives of all rows at once; leave one of the two out"
            )
        if self.heldout is not None and (self.heldout.share or self.objective.wants == "examples"):
            raise ValueError(
                "data.stream: heldout takes a share of all rows, or compares with their answers; name other texts as heldout.data "
                "if the stage learns from texts, else use eval"
            )
        if stream.buffer < self.batch.size * self.batch.accumulation:
            raise ValueError(
                f"data.stream.buffer: {stream.buffer} is less than one step takes (batch.size x accumulation); raise it"
            )
        return self

    @model_validator(mode="after")
    def _refresh_fits(self) -> Stage:
        if self.refresh is None:
            return self
        if not isinstance(self.objective, SupervisedConfig):
            raise ValueError(
                f"refresh: has no meaning for the objective {self.objective.kind}, which has no hard negatives"
            )
        if self.objective.distillation is not None:
            raise ValueError(
                "refresh: mined negatives have no teacher's scores, but distillation needs them; leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _data_fits(self) -> Stage:
        kind = self.objective.kind
        for where, data in (
            ("data", self.data),
            ("heldout.data", None if self.heldout is None else self.heldout.data),
        ):
            key = None if data is None else data.misplaced(self.objective.wants)
            if key is not None:
                kinds = {
                    "texts": "plain texts",
                    "documents": "documents",
                    "passages": "documents",
                    "pairs": "scored pairs",
                }.get(self.objective.wants, "labeled rows")
                raise ValueError(
                    f"{where}.{key}: has no meaning for the objective {kind}, which learns from {kinds}"
                )
        return self


__getattr__ = old_names(__name__)
