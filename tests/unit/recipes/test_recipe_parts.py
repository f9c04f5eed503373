"""The parts that recipes share: texts by stage, presets, the metric of a run, changes by keyword."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bothways.errors import InputError
from bothways.objectives.contrastive import ContrastiveConfig
from bothways.objectives.distilled import DistilledConfig
from bothways.objectives.graded import GradedConfig
from bothways.objectives.llara import LlaraConfig
from bothways.objectives.mntp import MntpConfig
from bothways.objectives.objective import ObjectiveConfig
from bothways.objectives.supervised import SupervisedConfig
from bothways.recipes.recipe_parts import SENTENCE_KINDS, check_preset, data, finish_recipe


def values(*kinds: str) -> dict[str, Any]:
    sizes = {"batch": {"size": 8}, "optim": {"lr": 1e-4, "steps": 5}}
    stages = [{"name": kind, "objective": {"kind": kind}, "data": {"source": "t.txt"}, **sizes} for kind in kinds]
    return {"name": "r", "base": "b", "stages": stages}


@pytest.mark.parametrize(
    ("texts", "short", "wanted"),
    [
        ("book.txt", True, {"source": ["book.txt"], "column": None}),
        (Path("book.txt"), False, {"source": ["book.txt"], "column": None}),
        (["a.txt", Path("b.txt")], False, {"source": ["a.txt", "b.txt"], "column": None}),
        ("python-stdlib", True, {"source": ["python-stdlib"], "column": "sentence"}),
        ("python-stdlib", False, {"source": ["python-stdlib"], "column": "text"}),
        (["python-stdlib", "a.txt"], True, {"source": ["python-stdlib", "a.txt"], "column": None}),
        ({"simcse": "a.txt", "mntp": "b.txt"}, False, {"source": ["b.txt"], "column": None}),
        ({"mntp": {"source": "c.csv", "column": "body", "limit": 5}}, True, {"source": "c.csv", "column": "body", "limit": 5}),
    ],
)
def test_texts_of_a_stage(texts: Any, short: bool, wanted: dict[str, Any]) -> None:
    assert data(texts, "mntp", short=short) == wanted


def test_a_stage_without_texts_is_named() -> None:
    with pytest.raises(InputError, match=r"texts: none for stage 'mntp' \(there are 'simcse'\)"):
        data({"simcse": "a.txt"}, "mntp", short=False)


def test_presets() -> None:
    check_preset("laptop")
    with pytest.raises(
        InputError, match=r"preset: 'labtop' does not exist; did you mean 'laptop'. there are published, laptop"
    ):
        check_preset("labtop")


def test_a_metric_chooses_checkpoints_of_stages_with_vectors_alone() -> None:
    recipe = finish_recipe(values("mntp", "contrastive"), {}, dev="sts:dev.tsv", dev_every=50)
    evals = [stage.eval for stage in recipe.stages]
    assert evals[0] is None
    assert evals[1] is not None and (evals[1].metric, evals[1].every) == ("sts:dev.tsv", 50)
    with pytest.raises(
        InputError, match=r"dev: chooses checkpoints of contrastive stages, but recipe r does not have such a stage"
    ):
        finish_recipe(values("mntp"), {}, dev="sts:dev.tsv", dev_every=50)


@pytest.mark.parametrize(
    "config", [ContrastiveConfig, SupervisedConfig, GradedConfig, DistilledConfig, MntpConfig, LlaraConfig]
)
def test_kinds_with_vectors_are_those_whose_loss_reads_them(config: type[ObjectiveConfig]) -> None:
    kind = config.model_fields["kind"].default  # type: ignore[attr-defined]
    assert (kind in SENTENCE_KINDS) == config.pools


def test_changes_by_keyword() -> None:
    recipe = finish_recipe(values("contrastive"), {"seed": 7, "stages__contrastive__optim__lr": 1e-3}, dev=None, dev_every=50)
    assert (recipe.seed, recipe.stages[0].optim.lr) == (7, 1e-3)
    with pytest.raises(InputError, match=r"stages\.other"):
        finish_recipe(values("contrastive"), {"stages__other__optim__lr": 1e-3}, dev=None, dev_every=50)
