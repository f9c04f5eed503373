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

from bothways.backbone.adapter.lora_config import LoraConfig
from bothways.backbone.rope import RopeConfig
from bothways.config import Direction, DType, Strict, parse
from bothways.errors import InputError
from bothways.objectives.causal_lm import CausalLmConfig
from bothways.objectives.contrastive import ContrastiveConfig
from bothways.objectives.llara import LlaraConfig
from bothways.objectives.mntp import MntpConfig
from bothways.objectives.supervised import SupervisedConfig
from bothways.pooling import PoolingConfig
from bothways.training.loop.optim import OptimConfig
from bothways.training.recipe.data_config import DataConfig
from bothways.training.recipe.yaml_text import load_yaml
from bothways.training.stage.negative_refresh import RefreshConfig

#: What a stage learns from; `kind` in the config chooses.
ObjectiveConfig = Annotated[
    MntpConfig | ContrastiveConfig | SupervisedConfig | LlaraConfig | CausalLmConfig, Field(discriminator="kind")
]

#: Keys that change what is shown or kept, never what is computed: a resumed run may have others.
FREE_KEYS = frozenset({"name", "keep", "keep_checkpoints", "trackers", "log_every", "save_every"})
#: Keys that mean nothing when null: a recipe written before they were there is the same recipe.
OPTIONAL_KEYS = frozenset(
    {
        "refresh",
        "mine",
        "add_eos",
        "wrapper",
        "default_prompt",
        "rope",
        "train_whole",
        "unit",
        "new_tokens",
        "shifted",
        "part",
        "example_prompt",
        "leave_out_labeled",
        "fill",
    }
    | {"joint", "plain", "add_bos", "rows", "share", "keep_mlp"}
)


class BatchConfig(Strict):
    """Rows per optimiser step: size x accumulation x processes."""

    size: int = Field(
        ge=1,
        description="examples of one micro-batch on one process: packed rows for MNTP, texts or labelled rows for contrastive",
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

    data: DataConfig | None = Field(default=None, description="texts of their own")
    share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="in place of data: the first share of the stage's own texts, which are not trained on",
    )
    every: int = Field(ge=1, description="optimiser steps between readings")
    limit: int | None = Field(default=None, ge=1, description="examples (packed rows) read each time; null for all")

    @model_validator(mode="after")
    def _either_way(self) -> HeldOutConfig:
        if (self.data is None) == (self.share is None):
            raise ValueError("give data, texts of their own, or share, a part of the stage's texts, and not both")
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources of the texts of their own."""
        return () if self.data is None else self.data.all_sources


class Stage(Strict):
    """One objective on one data set, from the encoder before it to the encoder after it."""

    name: str = Field(description="unique in the recipe; letters, digits, - and _")
    objective: ObjectiveConfig
    data: DataConfig
    optim: OptimConfig = OptimConfig()
    batch: BatchConfig
    adapter: LoraConfig | None = Field(default=LoraConfig(), description="LoRA; null trains every weight")
    keep: Literal["adapter", "merged", "both"] = Field(
        default="both",
        description="what the stage leaves: adapter, its small adapter alone, in PEFT's format; merged, a whole encoder; both, the encoder "
        "and beside it adapters/N-NAME",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="recompute activations in the backward pass: memory for time"
    )
    eval: EvalConfig | None = None
    heldout: HeldOutConfig | None = None
    refresh: RefreshConfig | None = Field(
        default=None, description="labelled rows: mine their negatives anew with the model in training"
    )
    on_collapse: Literal["warn", "stop"] = Field(default="warn", description="when all vectors become one")
    save_every: int | None = Field(default=None, ge=1, description="optimiser steps between checkpoints")
    log_every: int = Field(default=10, ge=1, description="optimiser steps between lines of metrics.jsonl")

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", value) or value.isdigit():
            raise ValueError("a stage's name is a folder's name and an address: letters, digits, - and _, not a number alone")
        return value

    @property
    def keeps_adapter(self) -> bool:
        """Whether the stage leaves an adapter in its output folder."""
        return self.adapter is not None and self.keep != "merged"

    @model_validator(mode="after")
    def _keep_fits(self) -> Stage:
        if self.keep == "adapter" and self.adapter is None:
            raise ValueError("keep: there is no adapter where every weight trains; use merged, or give the stage an adapter")
        if self.keep == "adapter" and self.objective.language_model:
            raise ValueError("keep: a language model is a base for what follows and is kept whole; use both or merged")
        return self

    @model_validator(mode="after")
    def _heldout_fits(self) -> Stage:
        if self.heldout is not None and not self.objective.measurable:
            raise ValueError(
                "heldout: dropout makes the two views of a contrastive loss, so it has no value in evaluation; use eval"
            )
        if self.heldout is not None and self.heldout.share is not None and self.objective.wants == "examples":
            raise ValueError("heldout.share: labelled rows have tasks and weights, so give the held-out ones as heldout.data")
        return self

    @model_validator(mode="after")
    def _tells_apart(self) -> Stage:
        """Without a negative the loss is 0 at every step, and nothing is learned."""
        objective = self.objective
        if isinstance(objective, SupervisedConfig):
            if objective.negatives == 0 and (not objective.in_batch or self.batch.size == 1):
                raise ValueError(
                    "a row has no negative: with objective.negatives 0 set objective.in_batch to true and batch.size to 2 or more, or "
                    "give objective.negatives 1 or more and rows that bring them"
                )
        elif isinstance(objective, ContrastiveConfig):
            if self.batch.size == 1:
                raise ValueError(
                    "batch.size: a text alone in its batch has nothing to be told apart from, so the loss is 0; use 2 or more "
                    "(accumulation does not help)"
                )
            adapter = 0.0 if self.adapter is None else self.adapter.dropout
            if objective.views == "dropout" and adapter == 0 == objective.attention_dropout == objective.hidden_dropout:
                raise ValueError(
                    "objective.views: 'dropout' needs dropout, and all rates are 0, so both views would be equal; set "
                    "objective.attention_dropout (LLM2Vec: 0.3), objective.hidden_dropout (SimCSE: 0.1) or adapter.dropout"
                )
        return self

    @model_validator(mode="after")
    def _refresh_fits(self) -> Stage:
        if self.refresh is None:
            return self
        if not isinstance(self.objective, SupervisedConfig):
            raise ValueError(f"refresh: has no meaning for the objective {self.objective.kind}, which has no hard negatives")
        if self.objective.distillation is not None:
            raise ValueError("refresh: mined negatives have no teacher's scores, which distillation learns from; leave one out")
        return self

    @model_validator(mode="after")
    def _data_fits(self) -> Stage:
        kind = self.objective.kind
        for where, data in (("data", self.data), ("heldout.data", None if self.heldout is None else self.heldout.data)):
            key = None if data is None else data.misplaced(self.objective.wants)
            if key is not None:
                kinds = {"texts": "plain texts", "documents": "documents", "passages": "documents"}.get(
                    self.objective.wants, "labelled rows"
                )
                raise ValueError(f"{where}.{key}: has no meaning for the objective {kind}, which learns from {kinds}")
        return self


class Recipe(Strict):
    """A whole training run."""

    name: str
    base: str = Field(description="what to start from: a base LLM (hub id, folder, .gguf, embedded name) or an encoder folder")
    base_adapter: str | None = Field(default=None, description="a PEFT adapter merged into the base first")
    rope: RopeConfig | None = Field(default=None, description="position interpolation of the base, to a longer context")
    direction: Direction = Field(
        default="bidirectional", description="attention of the encoder; an encoder folder must have it already"
    )
    pooling: str | PoolingConfig = Field(
        default="mean",
        description="how token states become one vector: a name, or a mapping with mode and sizes; an encoder folder must have it, "
        "but one without parameters gives way to latent_attention or self_attention",
    )
    max_length: int = Field(default=512, ge=2, description="tokens per text of the saved encoder")
    pool_bos: bool = Field(
        default=True,
        description="pool a BOS token, if the tokenizer adds one; an encoder folder that leaves it out goes on leaving it out",
    )
    add_bos: bool | None = Field(
        default=None,
        description="put BOS before every text, if the tokenizer does not; pool_bos says whether it is pooled. null: as it is",
    )
    add_eos: bool | None = Field(
        default=None, description="put EOS after every text, where the tokenizer does not; it is pooled. null: as it is"
    )
    wrapper: tuple[str, ...] | None = Field(
        default=None,
        max_length=3,
        description="(before, after) every text, for chat models; a third separates instruction and text",
    )
    joint: str | None = Field(
        default=None,
        description="what separates an instruction from its text, in place of white space at the instruction's end (LLM2Vec: one "
        "blank); null: as the wrapper says, else nothing",
    )
    prompts: dict[str, str] = Field(
        default={},
        description="instructions stored with the encoder by name; query and document serve retrieval's two sides; one that holds "
        "{text} stands around the text",
    )
    new_tokens: tuple[str, ...] | None = Field(
        default=None, description="special tokens added to the base, for prompts and for states that are read at them (LLaRA)"
    )
    default_prompt: str | None = Field(
        default=None,
        description="name of the prompt put before each text that has none, in contrastive training too. Its tokens are seen but not "
        "pooled, so a line feed, for example, takes the outlier activations of a text's first token",
    )
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

    @field_validator("base", "base_adapter")
    @classmethod
    def _named(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError(
                "is empty (an unset variable of the shell?); name a hub id, a folder, a .gguf file or an embedded model"
            )
        return value

    @field_validator("pooling", mode="before")
    @classmethod
    def _known_pooling(cls, value: Any) -> Any:
        # here and not by the union, whose message would speak of both its members
        if not isinstance(value, (str, Mapping)):
            return value
        try:
            config = PoolingConfig.of(value)
        except InputError as error:
            raise ValueError(str(error).removeprefix("pooling: ")) from None
        return value if isinstance(value, str) else config

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"two stages are named {doubled[0]!r}; names address stages, so each needs its own")
        if self.default_prompt is not None and self.default_prompt not in self.prompts:
            raise ValueError(
                f"default_prompt: {self.default_prompt!r} is not the name of a prompt; prompts has {sorted(self.prompts)}"
            )
        self._check_language_models()
        if self.dtype == "float16":
            raise ValueError("dtype: float16 overflows in training without loss scaling; use bfloat16, float32 or auto")
        return self

    def _check_language_models(self) -> None:
        kinds = [stage.objective.language_model for stage in self.stages]
        if kinds != sorted(kinds, reverse=True):
            late = next(
                stage.name for stage, after in zip(self.stages[1:], kinds) if stage.objective.language_model and not after
            )
            raise ValueError(f"stages.{late}: trains a language model, and the stage before it leaves an encoder; put it first")
        for stage in self.stages:
            if stage.objective.language_model and stage.eval is not None:
                raise ValueError(
                    f"stages.{stage.name}.eval: a language model has no vectors to measure; heldout reads its loss, and perplexity is "
                    "measured afterwards"
                )
        if self.rope is not None and self.rope.type == "dynamic" and not all(kinds):
            raise ValueError(
                "rope.type: dynamic frequencies follow the longest text of a pass, so a text's vector would depend on its neighbours; "
                "use linear or yarn"
            )

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


def as_resolved_now(stored: Any) -> dict[str, Any]:
    """A stored recipe with today's defaults for values it does not know yet, so that a run outlives a new option; as it is if it is
    no recipe any more.
    """
    try:
        return Recipe.from_values(stored).resolved()
    except InputError:
        return dict(stored) if isinstance(stored, Mapping) else {}


def binding(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted path to value of everything in a resolved recipe that a result depends on."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if value is None and prefix.split(".")[-1] in OPTIONAL_KEYS:
            return
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
