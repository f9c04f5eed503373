"""Recipes as values: round trip, one clear line for each wrong input, changes by path, and what counts as a change on resume."""

from __future__ import annotations

import copy

import pytest

from bothways.errors import InputError
from bothways.training.recipe.overrides import override, override_values
from bothways.training.recipe.recipe import Recipe, as_resolved_now
from bothways.training.recipe.recipe_changes import changed_keys
from bothways.training.recipe.yaml_text import load_yaml
from unit.training.material import mntp, simcse


def make(*stages, **changes) -> Recipe:
    return Recipe.from_values({"name": "r", "base": "somewhere", "stages": list(stages) or [mntp(), simcse()], **changes})


def test_yaml_round_trip_is_exact_and_names_every_default() -> None:
    recipe = make(trackers=["tensorboard"])
    text = recipe.to_yaml()
    assert Recipe.from_yaml(text) == recipe
    assert "mask_probability: 0.2" in text  # a default of an objective, written out
    assert Recipe.from_yaml(text).fingerprint() == recipe.fingerprint()


def test_yaml_numbers_are_numbers() -> None:
    assert load_yaml("a: 1e-3\nb: 5E+2\nc: 1.5\nd: 3\ne: .5\nf: on\ng: true\nh: 1e3x", where="t") == {
        "a": 0.001,
        "b": 500.0,
        "c": 1.5,
        "d": 3,
        "e": 0.5,
        "f": "on",
        "g": True,
        "h": "1e3x",
    }
    with pytest.raises(InputError, match=r"r\.yaml: line 2, column \d+ not valid YAML"):
        load_yaml("a: [1\nb: 2", where="r.yaml")


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


def test_override_by_name_number_and_star() -> None:
    recipe = make()
    changed = override(recipe, ["stages.mntp.optim.lr=2e-4", "stages.1.batch.size=16", "seed=9", "stages.*.log_every=1"])
    assert changed.stages[0].optim.lr == 2e-4
    assert changed.stages[1].batch.size == 16
    assert changed.seed == 9
    assert [stage.log_every for stage in changed.stages] == [1, 1]
    assert recipe == make()  # the original stays


def test_override_with_structures_and_null() -> None:
    changed = override(
        make(), ["stages.mntp.adapter=null", "stages.simcse.eval={metric: stdlib, every: 5}", "trackers=[wandb]"]
    )
    assert changed.stages[0].adapter is None
    assert changed.stages[1].eval is not None
    assert changed.stages[1].eval.every == 5
    assert changed.trackers == ("wandb",)
    again = override(changed, ["stages.mntp.adapter.r=8", "stages.mntp.adapter.dropout=0"])
    assert again.stages[0].adapter is not None
    assert (again.stages[0].adapter.r, again.stages[0].adapter.dropout) == (8, 0)
    assert override_values(make(), {"stages.mntp.optim.betas": (0.9, 0.95)}).stages[0].optim.betas == (0.9, 0.95)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("stages.mtnp.optim.lr=1", "no stage 'mtnp'; did you mean 'mntp'"),
        ("stages.7.optim.lr=1", r"no stage '7'; there are mntp, simcse \(or 0 to 1\)"),
        ("stages.mntp.optm.lr=1", "unknown key.*did you mean 'optim'"),
        ("stages.mntp.optim.lrr=1", "unknown key.*did you mean 'lr'"),
        ("stages.mntp.steps=1", "unknown key.*did you mean 'stages.0.optim.steps'"),
        ("stages.mntp.optim.lr.peak=1", "is a value and has no 'peak'"),
        ("sed=1", "did you mean 'seed'"),
        ("stages.mntp.optim.lr", "expected path=value"),
        ("stages.mntp.optim.lr=[1", "not valid YAML"),
        ("stages.mntp.batch.size=0", r"stages\.0\.batch\.size"),
    ],
)
def test_wrong_overrides_name_what_was_meant(assignment: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        override(make(), assignment)


def test_only_what_changes_results_counts_as_a_change() -> None:
    before = make().resolved()
    free = override(make(), ["stages.*.log_every=99", "stages.mntp.save_every=7", "keep_checkpoints=5", "name=other"])
    assert changed_keys(before, free.resolved()) == []
    assert free.fingerprint() == make().fingerprint()
    bound = override(make(), ["stages.mntp.optim.lr=0.5", "stages.simcse.objective.scale=50", "seed=1"])
    assert changed_keys(before, bound.resolved()) == [
        "seed (42 → 1)",
        "stages.mntp.optim.lr (0.001 → 0.5)",
        "stages.simcse.objective.scale (20.0 → 50.0)",
    ]
    assert bound.fingerprint() != make().fingerprint()
    renamed = override(make(), ["stages.mntp.name=first"])  # a stage's name addresses its folder: it binds
    assert changed_keys(before, renamed.resolved())


def test_a_run_outlives_a_new_option() -> None:
    now = make().resolved()
    before = copy.deepcopy(now)
    del before["prompts"], before["default_prompt"], before["stages"][0]["data"]["batches"]
    assert changed_keys(before, now), "the keys left out bind no result, so the test shows nothing"
    assert changed_keys(as_resolved_now(before), now) == []
    before["seed"] = 99
    assert changed_keys(as_resolved_now(before), now) == ["seed (99 → 42)"]
    assert as_resolved_now({"no": "recipe"}) == {"no": "recipe"}
