"""A whole run as a typed value: a recipe is a tuple of named stages.

Each stage starts from the model that the stage before it saved. Recipes build this value, YAML and
LLM2Vec's JSON are read into it, the trainer runs it, and the output folder keeps it. Nothing here
loads a model, so a recipe can be written, printed and checked on a machine that could never run it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from bothways.backbone.rope import RopeConfig
from bothways.config import Direction, DType, Strict, parse
from bothways.errors import InputError
from bothways.pooling import PoolingConfig
from bothways.training.recipe.recipe_changes import binding
from bothways.training.recipe.stage_config import Stage
from bothways.training.recipe.whole_weights import WHOLE, asked
from bothways.training.recipe.yaml_text import load_yaml


class Recipe(Strict):
    """A whole training run."""

    name: str
    base: str = Field(
        description="model to start from: a base LLM (hub id, folder, .gguf, embedded name) or a finished encoder (folder or hub id)"
    )
    base_adapter: str | None = Field(
        default=None, description="a PEFT adapter merged into the base first"
    )
    rope: RopeConfig | None = Field(
        default=None, description="position interpolation of the base, to a longer context"
    )
    direction: Direction = Field(
        default="bidirectional",
        description="attention of the encoder; if the base is a finished encoder, it must have this direction",
    )
    pooling: str | PoolingConfig = Field(
        default="mean",
        description="how token states become one vector: a name, or a mapping with mode and sizes; if the "
        "base is a finished encoder, it "
        "must have this pooling, but latent_attention and self_attention replace one without parameters",
    )
    max_length: int = Field(default=512, ge=2, description="tokens per text of the saved encoder")
    pool_bos: bool = Field(
        default=True,
        description="pool a BOS token, if the tokenizer adds one; a finished encoder that does not pool it stays so",
    )
    pool_prompt: bool | None = Field(
        default=None,
        description="pool the tokens of a prompt too, as servers do; null: no change, and a new encoder does not pool them",
    )
    add_bos: bool | None = Field(
        default=None,
        description="put BOS before every text, if the tokenizer does not; pool_bos decides if it is pooled; null: no change",
    )
    add_eos: bool | None = Field(
        default=None,
        description="put EOS after every text, if the tokenizer does not; it is pooled; null: no change",
    )
    wrapper: tuple[str, ...] | None = Field(
        default=None,
        max_length=3,
        description="(before, after) every text, for chat models; a third separates instruction and text",
    )
    joint: str | None = Field(
        default=None,
        description="text between an instruction and its text, in place of white space at the "
        "instruction's end (LLM2Vec: one "
        "blank); null: the wrapper's, else nothing",
    )
    prompts: dict[str, str] = Field(
        default={},
        description="instructions stored with the encoder by name; query and document are for the two "
        "sides of retrieval; an "
        "instruction with {text} in it is put around the text",
    )
    new_tokens: tuple[str, ...] | None = Field(
        default=None,
        description="special tokens added to the base, for prompts and for states that are read at them (LLaRA)",
    )
    default_prompt: str | None = Field(
        default=None,
        description="name of the prompt put before each text that has none, in contrastive training too. "
        "Its tokens are attended to but "
        "not pooled, so a line feed, for example, takes the outlier activations of a text's first token",
    )
    dtype: DType = Field(
        default="auto",
        description="type of the forward pass; auto: bfloat16 if the hardware computes it, else float32. "
        "Trained weights are float32",
    )
    save_dtype: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="type of the saved encoder; merging is exact in float32, bfloat16 halves the folder",
    )
    seed: int = Field(default=42, ge=0)
    stages: tuple[Stage, ...] = Field(min_length=1)
    trackers: tuple[str, ...] = Field(
        default=(), description="Accelerate's trackers by name, e.g. tensorboard, wandb"
    )
    keep_checkpoints: int = Field(
        default=2, ge=1, description="latest checkpoints kept per stage, besides the best one"
    )

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
    def _known_pooling(cls, value: object) -> object:
        # Checked here, because the message of the union would list both its members.
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
            raise ValueError(f"two stages are named {doubled[0]!r}; give each its own name")
        if self.default_prompt is not None and self.default_prompt not in self.prompts:
            raise ValueError(
                f"default_prompt: {self.default_prompt!r} is not the name of a prompt; prompts has {sorted(self.prompts)}"
            )
        self._check_trained_models()
        if self.dtype == "float16":
            raise ValueError(
                "dtype: float16 overflows in training without loss scaling; use bfloat16, float32 or auto"
            )
        return self

    def _check_trained_models(self) -> None:
        kinds = [stage.objective.trains for stage in self.stages]
        for stage, before in zip(self.stages[1:], kinds):
            kind = stage.objective.trains
            if before.has_vectors and not kind.has_vectors:
                raise ValueError(
                    f"stages.{stage.name}: trains {kind.title}, but the stage before it leaves {before.title}; put it first"
                )
        for stage, kind in zip(self.stages, kinds):
            if not kind.has_vectors and stage.eval is not None:
                raise ValueError(
                    f"stages.{stage.name}.eval: {kind.title} has no vectors to measure; use heldout to "
                    "read its loss, or evaluate "
                    "perplexity afterwards"
                )
        if (
            self.rope is not None
            and self.rope.type == "dynamic"
            and any(kind.has_vectors for kind in kinds)
        ):
            raise ValueError(
                "rope.type: dynamic frequencies depend on the longest text of a pass, so a text's vector "
                "would depend on the others; "
                "use linear or yarn"
            )

    def resolved(self) -> dict[str, Any]:
        """Return every value, defaults included, as plain JSON types."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Write the recipe as YAML, defaults included. `from_yaml` reads an equal value back."""
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True)

    @classmethod
    def from_yaml(cls, text: str, *, where: str = "recipe") -> Recipe:
        """Read a recipe from YAML.

        Args:
            text: the YAML document.
            where: name of its source, for messages.

        Raises:
            InputError: if it is not YAML, or not a recipe. The message names `where` and the dotted
                path.
        """
        return cls.from_values(load_yaml(text, where=where), where=where)

    @classmethod
    def from_values(cls, values: object, *, where: str = "recipe") -> Recipe:
        """Validate nested plain values as a recipe; see `from_yaml`."""
        if not isinstance(values, Mapping):
            raise InputError(
                f"{where}: expected a mapping with the keys of a recipe, got {type(values).__name__}"
            )
        rounded = asked(values)
        if rounded is not None:
            raise InputError(f"{where}: {rounded}: {WHOLE}")
        return parse(cls, values, where=where)

    def stage_folder(self, index: int) -> str:
        """Return the name of stage `index` (from 0) on disk, for example 1-mntp."""
        return f"{index + 1}-{self.stages[index].name}"

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) over every value that a result depends on."""
        return hashlib.sha256(
            json.dumps(binding(self.resolved()), sort_keys=True).encode()
        ).hexdigest()


def as_resolved_now(stored: object) -> dict[str, Any]:
    """Return a stored recipe with today's defaults for values that it does not have yet.

    So a run survives a new option. If the values are not a recipe any more, they are returned as
    they are.
    """
    try:
        return Recipe.from_values(stored).resolved()
    except InputError:
        return dict(stored) if isinstance(stored, Mapping) else {}
