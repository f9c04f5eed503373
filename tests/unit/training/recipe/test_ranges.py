"""Each number of a recipe may lie at the edge of its range and not beyond it."""

from __future__ import annotations

from typing import Any

import pytest

from bothways.errors import InputError
from bothways.training.recipe.overrides import override
from bothways.training.recipe.recipe import Recipe

SMALL = 1e-9
# dotted path of a stage's number: values at the edges, and the nearest ones beyond
STAGE: dict[str, tuple[list[Any], list[Any]]] = {
    "batch.size": ([1], [0]),
    "batch.accumulation": ([1], [0]),
    "optim.lr": ([SMALL], [0]),
    "optim.weight_decay": ([0], [-SMALL]),
    "optim.betas": ([[0, 0], [0.9999, 0.9999]], [[-0.001, 0.9], [0.9, 1]]),
    "optim.eps": ([1e-30], [0]),
    "optim.warmup_steps": ([0], [-1]),
    "optim.warmup_ratio": ([0, 1], [-0.001, 1.001]),
    "optim.clip_norm": ([SMALL, "null"], [0]),
    "optim.epochs": ([SMALL], [0]),
    "optim.steps": ([1], [0]),
    "optim.stop_after_steps": ([1], [0]),
    "adapter.r": ([1], [0]),
    "adapter.alpha": ([SMALL], [0]),
    "adapter.dropout": ([0, 0.999], [-0.001, 1]),
    "heldout.share": ([SMALL, 0.999], [0, 1]),
    "heldout.every": ([1], [0]),
    "heldout.limit": ([1], [0]),
    "eval.every": ([1], [0]),
    "save_every": ([1], [0]),
    "log_every": ([1], [0]),
    "data.limit": ([1], [0]),
    "data.rows": ([1], [0]),
}
# those of rows
LABELLED: dict[str, tuple[list[Any], list[Any]]] = {
    "data.tasks": (
        [[{"name": "t", "source": "x", "limit": 1}], [{"name": "t", "source": "x", "weight": SMALL}]]
        + [[{"name": "t", "source": "x", "part": part}] for part in ([1, 1], [1, 3], [3, 3])],
        [[{"name": "t", "source": "x", "limit": 0}], [{"name": "t", "source": "x", "weight": 0}]]
        + [[{"name": "t", "source": "x", "part": part}] for part in ([0, 1], [4, 3])],
    ),
    "data.mine": ([{"negatives": 1}], [{"negatives": 0}]),
    "refresh": (
        [{"every": 1}, {"every": 1, "negatives": 1}, {"every": 1, "batch_tokens": 1}],
        [{"every": 0}, {"every": 1, "negatives": 0}, {"every": 1, "batch_tokens": 0}],
    ),
    "objective.distillation": (
        [{"weight": SMALL}, {"temperature": SMALL}],
        [{"weight": 0}, {"temperature": 0}],
    ),
    "objective.false_negatives": ([{"fraction": SMALL}, {"margin": 0}], [{"fraction": 0}]),
}
RECIPE: dict[str, tuple[list[Any], list[Any]]] = {
    "max_length": ([2], [1]),
    "seed": ([0], [-1]),
    "keep_checkpoints": ([1], [0]),
    "pooling": (
        [{"mode": "last_tokens", "tokens": 1}, {"mode": "latent_attention", "latents": 1, "heads": 1, "head_width": 1}],
        [{"mode": "last_tokens", "tokens": 0}]
        + [{"mode": "latent_attention", key: 0} for key in ("latents", "heads", "head_width")],
    ),
    "wrapper": ([["a"], ["a", "b", "c"]], [["a", "b", "c", "d"]]),
    "stages": ([], [[]]),
}


def made(objective: dict[str, Any], **more: Any) -> dict[str, Any]:
    stage = {"name": "s", "objective": objective, "data": {"source": "x"}, "batch": {"size": 2}, **more}
    return {"name": "r", "base": "b", "stages": [stage]}


def given(values: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """The same values with one of them replaced."""
    first, *rest = path
    if not rest:
        return {**values, first: None if value == "null" else value}
    return {**values, first: given(values.get(first) or {}, rest, value)}


@pytest.mark.parametrize("path", STAGE)
def test_a_number_of_a_stage(path: str) -> None:
    whole = made({"kind": "mntp"}, heldout={"share": 0.1, "every": 5}, eval={"metric": "stdlib", "every": 5})
    check(lambda value: {**whole, "stages": [given(whole["stages"][0], path.split("."), value)]}, path, *STAGE[path])


@pytest.mark.parametrize("path", LABELLED)
def test_a_number_of_a_stage_over_rows(path: str) -> None:
    whole = made({"kind": "supervised"})
    if path == "data.tasks":
        whole["stages"][0]["data"] = {}
    check(lambda value: {**whole, "stages": [given(whole["stages"][0], path.split("."), value)]}, path, *LABELLED[path])


@pytest.mark.parametrize("path", RECIPE)
def test_a_number_of_a_recipe(path: str) -> None:
    whole = made({"kind": "mntp"})
    check(lambda value: given(whole, [path], value), path, *RECIPE[path])


def check(values: Any, path: str, inside: list[Any], outside: list[Any]) -> None:
    for value in inside:
        Recipe.from_values(values(value))
    for value in outside:
        with pytest.raises(InputError, match=path.split(".")[-1]):
            Recipe.from_values(values(value))


def test_an_override_is_held_to_the_same_ranges() -> None:
    recipe = Recipe.from_values(made({"kind": "mntp"}))
    assert override(recipe, "stages.s.batch.size=1").stages[0].batch.size == 1
    with pytest.raises(InputError, match=r"batch\.size"):
        override(recipe, "stages.s.batch.size=0")
