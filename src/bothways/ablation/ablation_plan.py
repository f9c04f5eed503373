"""The plan of an ablation, as a typed value: base, rows, poolings, tasks, and recipes for the rows.

The command line, a YAML file and `bothways.ablate` all have these fields. Nothing here loads a
model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, model_validator

from bothways.config import DType, Strict, parse
from bothways.errors import InputError
from bothways.pooling import PoolingConfig
from bothways.training.recipe.yaml_text import load_yaml

#: Values of a recipe that the plan itself decides, row by row.
OWN = ("base", "base_adapter", "direction", "pooling", "seed", "stages")
OTHERS = "*"
"""The key of `Plan.data` for every stage without its own."""


def _tuple(value: object) -> object:
    return (
        (value,)
        if isinstance(value, (str, int))
        else tuple(value)
        if isinstance(value, list)
        else value
    )


def _poolings(value: object) -> object:
    if isinstance(value, Mapping):
        value = (value,)
    many = _tuple(value)
    try:
        return tuple(PoolingConfig.of(each) for each in many) if isinstance(many, tuple) else many
    except InputError as error:
        raise ValueError(str(error).removeprefix("pooling: ")) from None


def _sources(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _tuple(each) for key, each in value.items()}
    return {OTHERS: _tuple(value)}


Names = Annotated[tuple[str, ...], BeforeValidator(_tuple)]
Poolings = Annotated[tuple[PoolingConfig, ...], BeforeValidator(_poolings)]


class Plan(Strict):
    """An ablation.

    LLM2Vec (arXiv 2404.05961) prints such a table: rows x poolings over a set of tasks. For example
    Plan(base="smollm2-135m", rows=("uni", "bi+mntp"), tasks=("sts:stsb",)).
    """

    base: str = Field(
        description="the base LLM of all rows: hub id, folder, .gguf file or embedded name"
    )
    rows: Names = Field(
        min_length=1,
        description="DIRECTION[+STAGE...][@POOLING,...], e.g. uni, bi, bi+mntp, bi+mntp+simcse, uni+simcse@last; or NAME=RECIPE.yaml",
    )
    tasks: Names = Field(
        min_length=1,
        description="as `bothways evaluate` takes them, e.g. sts:stsb, retrieval:scifact",
    )
    poolings: Poolings = Field(
        default=(PoolingConfig(mode="mean"),),
        min_length=1,
        description="poolings of rows that do not name their own, each as a name or as mode and sizes",
    )
    eval_poolings: Poolings = Field(
        default=(),
        description="further poolings, without parameters, under which every encoder is also measured",
    )
    recipe: Names = Field(
        default=("llm2vec",),
        min_length=1,
        description="recipes, by name or file, with the stages that rows name; if several have a stage, the first one counts",
    )
    preset: str = Field(default="published", description="preset of recipes by name")
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="options of recipes by name, e.g. supervised: rows.jsonl; each goes to the recipes that have it",
    )
    data: Annotated[dict[str, Names], BeforeValidator(_sources)] = Field(
        default_factory=dict,
        description="sources of every stage, or by stage name ('*' for the others); if absent, the recipes' own",
    )
    dev: str | None = Field(
        default=None, description="task by which recipes by name choose their best checkpoint"
    )
    overrides: dict[str, Any] = Field(
        default_factory=dict,
        description="values of the recipe by path, e.g. stages.mntp.optim.lr: 1e-3",
    )
    seeds: Annotated[tuple[int, ...], BeforeValidator(_tuple)] = Field(
        default=(42,), min_length=1, description="seeds of training"
    )
    dtype: DType = Field(
        default="auto",
        description="type in which encoders are measured; the recipe has that of training",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        for name in ("rows", "tasks", "poolings", "eval_poolings", "recipe", "seeds"):
            values = getattr(self, name)
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ValueError(
                    f"{name}: {pooling_label(twice) if isinstance(twice, PoolingConfig) else twice} is given twice"
                )
        if any(seed < 0 for seed in self.seeds):
            raise ValueError("seeds: must not be negative")
        trained = next((pooling.mode for pooling in self.eval_poolings if pooling.trained), None)
        if trained is not None:
            raise ValueError(
                f"eval_poolings: {trained} has parameters of its own, which are trained; name it under poolings"
            )
        reserved = next((path for path in self.overrides if path in OWN), None)
        if reserved is not None:
            raise ValueError(
                f"overrides: {reserved} is decided by the plan's own base, rows, poolings and seeds"
            )
        return self

    def resolved(self) -> dict[str, Any]:
        """Return every value, defaults included, as plain JSON types.

        A pooling with only a name is written as its name.
        """
        values = self.model_dump(mode="json")
        for name in ("poolings", "eval_poolings"):
            values[name] = [pooling_value(pooling) for pooling in getattr(self, name)]
        return values

    def to_yaml(self) -> str:
        """Write the resolved plan. `read_plan` reads it back to an equal value."""
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True)


def pooling_value(pooling: PoolingConfig) -> str | dict[str, Any]:
    """Write a pooling as recipes do: as its name if that is enough, else as a mapping."""
    return (
        pooling.mode
        if pooling == PoolingConfig(mode=pooling.mode)
        else pooling.model_dump(mode="json")
    )


def pooling_label(pooling: PoolingConfig) -> str:
    """Write a pooling for folder names and tables: `mean`, `latent_attention-latents64`."""
    defaults = PoolingConfig(mode=pooling.mode).model_dump()
    sizes = [
        f"-{key}{value}" for key, value in pooling.model_dump().items() if value != defaults[key]
    ]
    return pooling.mode + "".join(sizes)


def read_plan(path: str | os.PathLike[str] | None = None, **choices: object) -> Plan:
    """Read a plan from a YAML file and keyword arguments, which take precedence.

    For example read_plan("plan.yaml", seeds=(1, 2)).

    Args:
        path: the file. Its keys are the fields of `Plan`. If None, only `choices` count.
        **choices: fields by name. None means that a field is not given.

    Raises:
        InputError: if the file does not exist or is not YAML, if a key is unknown or missing, or if
            a value does not fit. The message names the path.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise InputError(
                f"{path}: cannot be read: {reason}; expected the plan of an ablation (.yaml)"
            ) from None
        read = load_yaml(text, where=str(path))
        if not isinstance(read, dict):
            raise InputError(
                f"{path}: expected a mapping with base, rows, tasks, …; got {type(read).__name__}"
            )
        values = read
    given = {name: value for name, value in choices.items() if value is not None}
    return parse(Plan, {**values, **given}, where="ablation" if path is None else str(path))
