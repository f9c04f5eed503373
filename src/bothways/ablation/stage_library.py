"""Builds the stages that rows may name: those of the plan's recipes, with its data and changes."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from bothways import recipes
from bothways.ablation.ablation_plan import OTHERS, Plan
from bothways.errors import InputError
from bothways.nearest import meant
from bothways.recipes.recipe_parts import EMBEDDED_TEXTS
from bothways.training.recipe.overrides import override_values
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.recipe_files import read_recipe


def stage_library(plan: Plan, used: set[str]) -> Recipe:
    """Collect the stages that rows name, from all recipes of the plan, in one recipe.

    Its other values are those of the first recipe.

    Args:
        plan: names recipes, data and changes.
        used: the stages that rows name. Each needs data.

    Raises:
        InputError: if a recipe or option is unknown, if a stage has no data, or if an override does
            not fit.
    """
    known = {
        option for name in plan.recipe if is_name(name) for option in recipes.get(name).options
    }
    wrong = next((option for option in plan.options if option not in known), None)
    if wrong is not None:
        raise InputError(
            f"options: none of the recipes {', '.join(plan.recipe)} has {wrong!r}; "
            f"{meant(wrong, known)}there are {', '.join(sorted(known))}"
        )
    found = [
        _by_name(plan, name, used) if is_name(name) else _from_file(plan, name)
        for name in plan.recipe
    ]
    stages: dict[str, Any] = {}
    for recipe in found:
        for stage in recipe.resolved()["stages"]:
            stages.setdefault(stage["name"], stage)
    unknown = [name for name in plan.data if name != OTHERS and name not in stages]
    if unknown:
        raise InputError(
            f"data: no stage {unknown[0]!r}; {meant(unknown[0], stages)}there are {', '.join(stages)}, and '{OTHERS}' for the others"
        )
    whole = Recipe.from_values(
        {**found[0].resolved(), "stages": list(stages.values())}, where=f"recipe {plan.recipe[0]}"
    )
    return override_values(whole, plan.overrides)


def is_name(recipe: str) -> bool:
    """Tell if this is a recipe of the library rather than a file."""
    return recipe in recipes.NAMES and not Path(recipe).is_file()


def _from_file(plan: Plan, name: str) -> Recipe:
    if not Path(name).is_file() and not name.endswith((".yaml", ".yml", ".json")):
        raise InputError(
            f"recipe: {name!r} is neither a recipe nor a file; {meant(name, recipes.NAMES)}"
            f"recipes: {', '.join(recipes.NAMES)}"
        )
    if plan.dev is not None:
        raise InputError(f"dev: only for recipes by name; in {name} set stages.NAME.eval")
    values = read_recipe(name, base=plan.base).resolved()
    for stage in values["stages"]:
        sources = plan.data.get(stage["name"], plan.data.get(OTHERS))
        if sources is not None:
            # A column belongs to the source that it was named for.
            stage["data"] = {**stage["data"], "source": list(sources), "column": None, "tasks": []}
    return Recipe.from_values(values, where=name)


def _by_name(plan: Plan, name: str, used: set[str]) -> Recipe:
    """Build a recipe by name, with the stages that rows use and the plan's data for them."""
    entry = recipes.get(name)
    common: dict[str, Any] = {"base": plan.base, "preset": plan.preset}
    parameters = inspect.signature(entry.build).parameters
    switches = {
        option for option in entry.options if str(parameters[option].annotation).startswith("bool")
    }
    chosen = {option: value for option, value in plan.options.items() if option in entry.options}
    # A stage that a row names is switched on. A stage of labeled rows with data is set through its
    # option (supervised=ROWS).
    wanted = {stage: True for stage in switches & used} | {
        stage: list(plan.data[stage])
        for stage in entry.options
        if stage in plan.data and stage not in switches
    }
    options = {**wanted, **chosen}
    stages = [stage.name for stage in entry.make(options, **common).stages]
    texts = {
        stage: _data_of(plan, stage, used)
        for stage in stages
        if stage in switches or stage not in options
    }
    return entry.make(options, **common, dev=plan.dev, texts=texts)


def _data_of(plan: Plan, stage: str, used: set[str]) -> list[str] | str:
    """Find the sources of a stage of a recipe by name.

    If no sources are given at all, use the embedded text.
    """
    sources = plan.data.get(stage, plan.data.get(OTHERS))
    if sources is not None:
        return list(sources)
    if plan.data and stage in used:
        raise InputError(
            f"data: none for stage {stage!r} (given: {', '.join(plan.data)}); add {stage}=SOURCE"
        )
    return EMBEDDED_TEXTS
