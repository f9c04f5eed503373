"""docs/recipes.md keeps its word: it names every option there is, and its commands make recipes."""

from __future__ import annotations

import re

import pytest

from bothways import recipes
from bothways.cli.options import assignments
from bothways.training.recipe.overrides import override
from pages import commands, page, parsed

TEXT = page("recipes.md")
TRAINING = [parameters for verb, parameters in map(parsed, commands(TEXT)) if verb == "train"]


def test_every_option_is_on_the_page() -> None:
    listed = {
        name: tuple(re.findall(r"`(\w+)`", options))
        for name, options in re.findall(r"^\| (\w+) \| (`.*) \|$", TEXT, re.MULTILINE)
    }
    assert listed == {name: recipes.get(name).options for name in recipes.NAMES}


@pytest.mark.parametrize("given", TRAINING, ids=lambda given: str(given["out"]))
def test_its_commands_make_recipes(given: dict) -> None:
    common = {"base": given["base"], "texts": given["data"], "dev": given["dev"]}
    entry = recipes.get(given["recipe"])
    made = entry.make(
        assignments(given["options"] or []), preset=given["preset"], **{key: value for key, value in common.items() if value}
    )
    assert override(made, given["sets"] or []).stages


def test_there_are_commands_of_every_recipe() -> None:
    assert {given["recipe"] for given in TRAINING} == set(recipes.NAMES)
