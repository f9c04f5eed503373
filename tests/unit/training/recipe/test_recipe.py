"""Recipes as values: round trip, one clear line for each wrong input, changes by path, and what
counts as a change on resume.
"""

from __future__ import annotations

import pytest

from bothways.errors import InputError
from bothways.training.recipe.recipe import Recipe
from unit.training.material import mntp, simcse


def make(*stages, **changes) -> Recipe:
    return Recipe.from_values({"name": "r", "base": "somewhere", "stages": list(stages) or [mntp(), simcse()], **changes})


def test_yaml_round_trip_is_exact_and_names_every_default() -> None:
    recipe = make(trackers=["tensorboard"])
    text = recipe.to_yaml()
    assert Recipe.from_yaml(text) == recipe
    assert "mask_probability: 0.2" in text  # a default of an objective, written out
    assert Recipe.from_yaml(text).fingerprint() == recipe.fingerprint()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stages": []}, "stages"),
        ({"stages": [mntp(), mntp()]}, "two stages are named 'mntp'"),
        ({"stages": [mntp(name="a b")]}, r"stages\.0\.name.*letters"),
        ({"stages": [mntp(name="7")]}, r"stages\.0\.name"),
        (
            {"stages": [mntp(objective={"kind": "mntp", "mask_probabilty": 0.3})]},
            "mask_probabilty.*did you mean 'mask_probability'",
        ),
        ({"stages": [mntp(objective={"kind": "mlm"})]}, r"stages\.0\.objective.*mlm"),
        ({"stages": [mntp(optim={"lr": "fast"})]}, r"stages\.0\.optim\.lr.*fast"),
        ({"stages": [mntp(data={"source": ""})]}, r"stages\.0\.data\.source.*at least one source"),
        ({"stages": [mntp(bach={"size": 2})]}, "bach.*did you mean 'batch'"),
        ({"dtype": "float16"}, "float16 overflows"),
        ({"direction": "both"}, "direction"),
        ({"sede": 1}, "sede.*did you mean 'seed'"),
        ({"stages": [simcse(heldout={"data": {"source": "x"}, "every": 1})]}, "heldout"),
    ],
)
def test_wrong_recipes_get_one_line_with_the_path(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Recipe.from_values({"name": "r", "base": "b", "stages": [mntp()], **values}, where="file.yaml")
    assert str(caught.value).startswith("file.yaml: ")
    assert "\n" not in str(caught.value)
