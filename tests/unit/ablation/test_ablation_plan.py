"""Plans, from files and choices, and the key that a wrong one names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bothways.ablation.ablation_plan import Plan, read_plan
from bothways.config import parse
from bothways.errors import InputError
from unit.ablation.material import World


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
