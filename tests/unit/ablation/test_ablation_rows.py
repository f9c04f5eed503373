"""The words of a row: what they mean, and what a wrong one is answered with."""

from __future__ import annotations

from typing import Any

import pytest

from bothways.ablation.ablation_plan import Plan
from bothways.ablation.ablation_rows import AblationRow, read_rows
from bothways.config import parse
from bothways.errors import InputError
from unit.ablation.material import World


def rows(world: World, *words: str, **changes: Any) -> list[AblationRow]:
    return read_rows(parse(Plan, world.plan(*words, **changes), where="plan"))


def test_a_row_is_a_direction_and_stages(world: World) -> None:
    uni, both = rows(world, "uni", "bi+mntp+simcse")
    assert (uni.label, uni.direction, uni.stages, uni.pools) == ("uni", "causal", (), False)
    assert (both.direction, [each.label for each in both.stages]) == ("bidirectional", ["mntp", "simcse"])
    assert both.pools
    assert both.stages[0].stage.optim.steps == 8  # the recipe's own stage, not a default


def test_pools_is_what_the_objectives_say(world: World) -> None:
    assert [row.pools for row in rows(world, "bi+mntp", "bi+simcse")] == [False, True]


def test_long_and_short_words_are_one(world: World) -> None:
    assert [row.label for row in rows(world, "causal+simcse", "bidirectional")] == ["uni+simcse", "bi"]


def test_poolings_of_a_row(world: World) -> None:
    named, silent = rows(world, "bi+simcse@eos,mean", "bi")
    assert named.label == "bi+simcse"
    assert named.poolings is not None
    assert [pooling.mode for pooling in named.poolings] == ["last", "mean"]
    assert silent.poolings is None


def test_a_recipe_file_is_a_row_and_shares_equal_stages(world: World) -> None:
    hot = world.write_recipe("ho@t.yaml", world.stage("mntp"), world.stage("simcse", optim={"lr": 0.5, "steps": 6}))
    (row,) = rows(world, f"hot={hot}@last")
    assert row.label == "hot"
    assert row.direction == "bidirectional"
    assert [each.label for each in row.stages] == ["mntp", "hot.simcse"]
    assert row.poolings is not None
    (plain,) = rows(world, f"hot={hot}")
    assert plain.poolings is None


def test_a_recipe_of_another_length_shares_nothing(world: World) -> None:
    other = world.write_recipe("short.yaml", max_length=64)
    (row,) = rows(world, f"short={other}")
    assert [each.label for each in row.stages] == ["short.mntp", "short.simcse"]


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("both+mntp", r"row 'both\+mntp': starts with 'both', not with a direction \(uni or bi\)"),
        ("bi+mtnp", r"no stage 'mtnp'; did you mean 'mntp'"),
        ("bi+supervised", r"no stage 'supervised'; the recipe has mntp, simcse"),
        ("bi@meen", r"row 'bi@meen': unknown pooling 'meen'; did you mean 'mean'"),
        ("bi=x.yaml", "'bi' cannot be a row's name"),
        ("mine=nowhere.yaml", "nowhere.yaml: cannot be read"),
    ],
)
def test_a_wrong_row_is_answered_in_one_line(world: World, word: str, answer: str) -> None:
    with pytest.raises(InputError, match=answer) as error:
        rows(world, word)
    assert "\n" not in str(error.value)


def test_a_custom_row_has_the_plans_base_and_no_adapter_of_another(world: World) -> None:
    recipe = world.write_recipe("adapted.yaml", base_adapter="somewhere")
    # read_recipe drops an adapter when the base is replaced, and a plan always names its base
    (row,) = rows(world, f"adapted={recipe}")
    assert row.recipe.base_adapter is None
    assert row.recipe.base == world.base


def test_a_stage_that_makes_no_encoder_is_refused(world: World) -> None:
    with pytest.raises(InputError, match="row uni\\+longlora: stage longlora trains a language model, but rows are encoders"):
        rows(world, "uni+longlora", recipe="longlora")
