"""Changes to a recipe by dotted path."""

from __future__ import annotations

import pytest

from bothways.errors import InputError
from bothways.training.recipe.overrides import override, override_values
from unit.training.recipe.test_recipe import make


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
