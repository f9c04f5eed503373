"""Recipes by name: which options each has, and what is refused before one is made."""

from __future__ import annotations

import inspect

import pytest

from bothways.errors import InputError
from bothways.recipes.entries import TEXT_ENCODERS, RecipeEntry, find
from bothways.training.recipe.recipe import Recipe

SIZES = {"batch": {"size": 8}, "optim": {"lr": 1e-4, "steps": 5}}


def made(base: str, *, dev: str | None = None, source: str | None = None, fast: bool = False) -> Recipe:
    """A recipe that has one stage."""
    stage = {"name": "s", "objective": {"kind": "contrastive"}, "data": {"source": source or "t.txt"}, **SIZES}
    return Recipe.from_values({"name": "fast" if fast else "slow", "base": base, "stages": [stage]})


ENTRY = RecipeEntry("one", "a recipe", made)


def test_options_are_the_keyword_parameters_without_those_of_every_recipe() -> None:
    assert ENTRY.options == ("source", "fast")
    for entry in TEXT_ENCODERS:
        parameters = inspect.signature(entry.build).parameters
        assert set(entry.options) < set(parameters) and "dev" in parameters and "dev" not in entry.options


def test_a_recipe_is_made_with_its_options() -> None:
    recipe = ENTRY.make({"source": "a.jsonl", "fast": True}, base="b")
    assert (recipe.name, recipe.base, recipe.stages[0].data.all_sources) == ("fast", "b", ("a.jsonl",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sorce": "x"}, "recipe one: no option 'sorce'; did you mean 'source'. there are source, fast"),
        ({"dev": "sts:x"}, "recipe one: no option 'dev'"),
        ({"fast": "yes"}, "recipe one: fast is true or false, not 'yes'"),
        ({"source": True}, "recipe one: source is a name, file or list, not True"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ENTRY.make(options, base="b")


def test_a_recipe_is_found_by_its_name() -> None:
    assert all(find(entry.name, TEXT_ENCODERS) is entry for entry in TEXT_ENCODERS)
    with pytest.raises(InputError, match=r"recipe 'simsce' does not exist; did you mean 'simcse'. there are llm2vec, simcse"):
        find("simsce", TEXT_ENCODERS)
