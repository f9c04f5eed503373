"""Which changes of a recipe change a result."""

from __future__ import annotations

import copy

from bothways.training.recipe.overrides import override
from bothways.training.recipe.recipe import as_resolved_now
from bothways.training.recipe.recipe_changes import changed_keys
from unit.training.recipe.test_recipe import make


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
