"""The words of a row: what they mean, and what a wrong one is answered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bothways.ablation.ablation_plan import Plan, read_plan
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


def test_recipes_give_their_stages_in_order(world: World) -> None:
    second = world.write_recipe(
        "second.yaml", world.stage("simcse", optim={"lr": 0.5, "steps": 6}), world.stage("mntp", name="again")
    )
    (row,) = rows(world, "bi+again+simcse", recipe=[world.recipe, second])
    assert [each.label for each in row.stages] == ["again", "simcse"]
    assert row.stages[1].stage.optim.lr == 1e-3  # the first recipe wins


def test_data_by_stage(world: World, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"recipe": "llm2vec", "preset": "laptop"}
    (row,) = rows(world, "bi+mntp+simcse", data={"mntp": "a.txt", "*": ["b.txt", "c.txt"]}, **changes)
    assert [each.stage.data.source for each in row.stages] == [("a.txt",), ("b.txt", "c.txt")]
    (row,) = rows(world, "bi+simcse", data={"simcse": "a.txt"}, **changes)  # mntp is nobody's, so it needs no data
    assert row.stages[0].stage.data.source == ("a.txt",)
    with pytest.raises(InputError, match=r"data: none for stage 'mntp' \(given: simcse\)"):
        rows(world, "bi+mntp", data={"simcse": "a.txt"}, **changes)
    with pytest.raises(InputError, match="data: no stage 'simsce'"):
        rows(world, "bi", data={"simsce": "a.txt"}, **changes)
    (row,) = rows(world, "bi+mntp", data="z.txt")  # a file's own data is replaced, too
    assert row.stages[0].stage.data.source == ("z.txt",)


def test_a_stage_of_labelled_rows_is_wanted_by_its_data(world: World) -> None:
    changes: dict[str, Any] = {"recipe": "llm2vec", "preset": "laptop"}
    data = {"supervised": "rows.jsonl", "mntp": "a.txt", "simcse": "b.txt"}
    one, other = rows(world, "bi+mntp+simcse", "bi+mntp+supervised", data=data, **changes)
    assert [each.stage.data.all_sources for each in one.stages] == [("a.txt",), ("b.txt",)]
    assert [each.stage.data.all_sources for each in other.stages] == [("a.txt",), ("rows.jsonl",)]
    (by_option,) = rows(world, "bi+supervised", options={"supervised": "rows.jsonl"}, **changes)
    assert by_option.stages[0].stage == other.stages[1].stage
    with pytest.raises(InputError, match="no stage 'supervised'; give it labeled rows: data supervised=ROWS"):
        rows(world, "bi+supervised", **changes)
    with pytest.raises(InputError, match=r"options: none of the recipes llm2vec has 'supervized'; did you mean 'supervised'"):
        rows(world, "bi", options={"supervized": "x"}, **changes)


@pytest.mark.parametrize("name", ["nv_embed", "llara"])
def test_stages_of_other_recipes(world: World, name: str) -> None:
    from bothways import recipes

    stage = recipes.get(name).make({}, base=world.base).stages[0].name
    (row,) = rows(world, f"bi+{stage}", recipe=name)
    assert [each.label for each in row.stages] == [stage]


def test_a_stage_that_makes_no_encoder_is_refused(world: World) -> None:
    with pytest.raises(InputError, match="row uni\\+longlora: stage longlora trains a language model, but rows are encoders"):
        rows(world, "uni+longlora", recipe="longlora")


def test_overrides_reach_the_stages(world: World) -> None:
    (row,) = rows(world, "bi+mntp", overrides={"stages.mntp.optim.steps": 3})
    assert row.stages[0].stage.optim.steps == 3
    with pytest.raises(InputError, match="no stage 'mtnp'; did you mean 'mntp'"):
        rows(world, "bi+mntp", overrides={"stages.mtnp.optim.steps": 3})


def test_dev_is_for_recipes_by_name(world: World) -> None:
    (row,) = rows(world, "bi+mntp+simcse", recipe="llm2vec", dev=world.tasks[0])
    assert [each.stage.eval is not None for each in row.stages] == [False, True]
    with pytest.raises(InputError, match=r"dev: only for recipes by name; in .*recipe\.yaml set stages\.NAME\.eval"):
        rows(world, "bi", dev=world.tasks[0])


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"rwos": ["bi"]}, "unknown key 'rwos'; did you mean 'rows'"),
        ({"poolings": ["mean", "avg"]}, "poolings: unknown mode 'avg'"),
        ({"poolings": ["last", "eos"]}, "poolings: last is given twice"),
        ({"seeds": [1, 1]}, "seeds: 1 is given twice"),
        ({"seeds": [-1]}, "seeds: must not be negative"),
        ({"eval_poolings": ["latent_attention"]}, "eval_poolings: latent_attention has parameters"),
        ({"overrides": {"seed": 3}}, "overrides: seed is decided by the plan"),
        ({"tasks": []}, "tasks: "),
    ],
)
def test_a_wrong_plan_names_the_key(world: World, changes: dict[str, Any], answer: str) -> None:
    with pytest.raises(InputError, match=answer):
        parse(Plan, world.plan("bi", **changes), where="plan")


def test_a_plan_file_and_choices_that_win(world: World, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(
        "base: b\nrows: [uni, bi+mntp]\ntasks: sts:x\nseeds: 3\npoolings: [mean, {mode: latent_attention, latents: 8}]\n"
        "overrides: {stages.mntp.optim.lr: 1e-3}\ndata: texts.txt\n"
    )
    plan = read_plan(file, rows=["bi"], preset=None)
    assert (plan.rows, plan.tasks, plan.seeds, plan.preset) == (("bi",), ("sts:x",), (3,), "published")
    assert plan.poolings[1].latents == 8
    assert plan.overrides == {"stages.mntp.optim.lr": 1e-3}  # a number, as YAML 1.2 has it
    assert plan.data == {"*": ("texts.txt",)}
    again = tmp_path / "again.yaml"
    again.write_text(plan.to_yaml())
    assert read_plan(again) == plan
    for text, answer in (("[1]", "expected a mapping"), ("a: [", "not valid YAML")):
        file.write_text(text)
        with pytest.raises(InputError, match=answer):
            read_plan(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_plan(tmp_path / "none.yaml")
