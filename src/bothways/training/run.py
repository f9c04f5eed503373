"""A run as a typed value: a recipe is a tuple of named stages, each starting from the encoder that the stage before it saved.

It stands apart because everything else reads it: recipes build it, YAML and LLM2Vec's JSON turn into it, the trainer executes it,
the output folder keeps it. Nothing here loads a model, so a recipe can be written, printed and checked
on a machine that could never run it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from bothways.backbone.adapters import LoraConfig
from bothways.config import Direction, DType, Strict, parse
from bothways.errors import InputError
from bothways.objectives.contrastive import ContrastiveConfig
from bothways.objectives.mntp import MntpConfig
from bothways.training.optim import OptimConfig
from bothways.training.yaml_text import load_yaml

#: What a stage learns from; `kind` in the config chooses.
ObjectiveConfig = Annotated[MntpConfig | ContrastiveConfig, Field(discriminator="kind")]

#: Keys that change what is shown or kept, never what is computed: a resumed run may have others.
FREE_KEYS = frozenset({"name", "keep_checkpoints", "trackers", "log_every", "save_every"})


class DataConfig(Strict):
    """Where the training texts come from."""

    source: tuple[str, ...] = Field(description="files, folders, hub datasets (org/name:config/split) or python-stdlib")
    column: str | None = Field(default=None, description="the text's column; found by its usual names when absent")
    limit: int | None = Field(default=None, ge=1, description="texts from each source at most")

    @field_validator("source", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("source")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(value):
            raise ValueError("name at least one source of text: a file, a folder, a hub dataset or python-stdlib")
        return value


class BatchConfig(Strict):
    """Rows per optimiser step: size x accumulation x processes."""

    size: int = Field(
        ge=1, description="examples of one micro-batch on one process: packed rows for MNTP, texts for contrastive"
    )
    accumulation: int = Field(default=1, ge=1, description="micro-batches per optimiser step; the loss is normalised over all")


class EvalConfig(Strict):
    """A development metric, by which the best checkpoint is chosen. Higher is better."""

    metric: str = Field(description="a task as `bothways evaluate` takes it, e.g. sts:FILE or stdlib")
    every: int = Field(ge=1, description="optimiser steps between evaluations; the last step is always evaluated")
    at_start: bool = Field(default=False, description="measure the untrained stage as well")
    restore_best: bool = Field(default=True, description="end the stage with its best checkpoint instead of its last")


class HeldOutConfig(Strict):
    """Texts on which the objective's own loss is read; reported, never used to choose."""

    data: DataConfig
    every: int = Field(ge=1, description="optimiser steps between readings")
    limit: int | None = Field(default=None, ge=1, description="examples (packed rows) read each time; null for all")


class Stage(Strict):
    """One objective on one data set, from the encoder before it to the encoder after it."""

    name: str = Field(description="unique in the recipe; letters, digits, - and _")
    objective: ObjectiveConfig
    data: DataConfig
    optim: OptimConfig = OptimConfig()
    batch: BatchConfig
    adapter: LoraConfig | None = Field(default=LoraConfig(), description="LoRA; null trains every weight")
    gradient_checkpointing: bool = Field(
        default=False, description="recompute activations in the backward pass: memory for time"
    )
    eval: EvalConfig | None = None
    heldout: HeldOutConfig | None = None
    on_collapse: Literal["warn", "stop"] = Field(default="warn", description="when all vectors become one")
    save_every: int | None = Field(default=None, ge=1, description="optimiser steps between checkpoints")
    log_every: int = Field(default=10, ge=1, description="optimiser steps between lines of metrics.jsonl")

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", value) or value.isdigit():
            raise ValueError("a stage's name is a folder's name and an address: letters, digits, - and _, not a number alone")
        return value

    @model_validator(mode="after")
    def _heldout_fits(self) -> Stage:
        if self.heldout is not None and self.objective.kind != "mntp":
            raise ValueError(
                "heldout: dropout makes the two views of a contrastive loss, so it has no value in evaluation; use eval"
            )
        return self


class Recipe(Strict):
    """A whole training run."""

    name: str
    base: str = Field(description="what to start from: a base LLM (hub id, folder, .gguf, embedded name) or an encoder folder")
    base_adapter: str | None = Field(default=None, description="a PEFT adapter merged into the base first")
    direction: Direction = Field(default="bidirectional", description="attention of the encoder; ignored for an encoder folder")
    pooling: str = Field(default="mean", description="how token states become one vector; ignored for an encoder folder")
    max_length: int = Field(default=512, ge=2, description="tokens per text of the saved encoder")
    pool_bos: bool = Field(default=True, description="pool a BOS token, where the tokenizer adds one")
    dtype: DType = Field(
        default="auto",
        description="of the forward pass; auto: bfloat16 where the hardware computes it. Trained weights are float32",
    )
    save_dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the saved encoder; merging is exact in float32, bfloat16 halves the folder"
    )
    seed: int = Field(default=42, ge=0)
    stages: tuple[Stage, ...] = Field(min_length=1)
    trackers: tuple[str, ...] = Field(default=(), description="Accelerate's trackers by name, e.g. tensorboard, wandb")
    keep_checkpoints: int = Field(default=2, ge=1, description="latest checkpoints kept per stage, beside the best one")

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"two stages are named {doubled[0]!r}; names address stages, so each needs its own")
        if self.dtype == "float16":
            raise ValueError("dtype: float16 overflows in training without loss scaling; use bfloat16, float32 or auto")
        return self

    def resolved(self) -> dict[str, Any]:
        """Every value, defaults included, as plain JSON types."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """The resolved recipe as YAML; `Recipe.from_yaml` reads it back to an equal value."""
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True)

    @classmethod
    def from_yaml(cls, text: str, *, where: str = "recipe") -> Recipe:
        """Read a recipe from YAML.

        Raises:
            InputError: not YAML, or not a recipe; names `where` and the dotted path.
        """
        return cls.from_values(load_yaml(text, where=where), where=where)

    @classmethod
    def from_values(cls, values: Any, *, where: str = "recipe") -> Recipe:
        """Validate nested plain values as a recipe; see `from_yaml`."""
        if not isinstance(values, Mapping):
            raise InputError(f"{where}: expected a mapping with the keys of a recipe, got {type(values).__name__}")
        return parse(cls, values, where=where)

    def stage_folder(self, index: int) -> str:
        """Name of stage `index` (from 0) on disk, e.g. 1-mntp."""
        return f"{index + 1}-{self.stages[index].name}"

    def fingerprint(self) -> str:
        """SHA-256 (hex) over every value that a result depends on."""
        return hashlib.sha256(json.dumps(binding(self.resolved()), sort_keys=True).encode()).hexdigest()


def binding(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted path to value of everything in a resolved recipe that a result depends on."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), inner)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, inner in enumerate(value):
                walk(f"{prefix}.{inner.get('name', number)}", inner)
        elif prefix.split(".")[-1] not in FREE_KEYS or (prefix.count(".") == 2 and prefix.endswith(".name")):
            flat[prefix] = value

    walk("", resolved)
    return flat


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Dotted paths in which two resolved recipes differ in a way that changes results, each with old and new value."""
    missing = object()
    old, new = binding(before), binding(now)
    lines = []
    for key in sorted(old.keys() | new.keys()):
        was, is_now = old.get(key, missing), new.get(key, missing)
        if was != is_now:
            lines.append(f"{key} ({'absent' if was is missing else was} → {'absent' if is_now is missing else is_now})")
    return lines
