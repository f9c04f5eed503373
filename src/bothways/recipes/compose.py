"""Chains two recipes: every stage starts from the model that the stage before it saved."""

from __future__ import annotations

from bothways.training.recipe.recipe import Recipe

#: Fields about the start of a recipe, taken from the first one. All other fields describe the
#: result.
START = ("base", "base_adapter", "rope")


def compose(first: Recipe, second: Recipe, **changes: object) -> Recipe:
    """Join the stages of `first` and then those of `second` into one recipe.

    Args:
        first: determines the start.
        second: determines the encoder: direction, pooling, prompts, length, precision, seed.
        **changes: fields that replace those of both recipes, for example `name`, `max_length`.

    Raises:
        InputError: if two stages have one name, or if a stage cannot follow the one before it.
    """
    one, other = first.resolved(), second.resolved()
    values = {
        **other,
        **{key: one[key] for key in START},
        "name": f"{first.name}+{second.name}",
        "stages": one["stages"] + other["stages"],
        **changes,
    }
    return Recipe.from_values(values, where=f"recipe {values['name']}")
