"""The stages that rows may name come from the plan's recipes, with its data and changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bothways.ablation.ablation_plan import Plan
from bothways.ablation.ablation_rows import AblationRow, read_rows
from bothways.config import parse
from bothways.errors import InputError
from unit.ablation.material import World


def rows(world: World, *words: str, **changes: Any) -> list[AblationRow]:
    return read_rows(parse(Plan, world.plan(*words, **changes), where="plan"))


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
