"""A misspelt name of every closed set is answered with the name that was meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bothways import recipes
from bothways.backbone.hardware import resolve_dtype
from bothways.config import Strict, parse
from bothways.data.columns import find_column
from bothways.data.conversion.classification import settled
from bothways.data.conversion.nli import triplets
from bothways.data.conversion.options import NliOptions
from bothways.data.labeled.dialects import named
from bothways.data.labeled.templates import find_template
from bothways.data.rows import unknown_format
from bothways.errors import BothwaysError
from bothways.evaluation.mteb.instructions import styled_prompt
from bothways.evaluation.registry import make_task
from bothways.exports.export import export
from bothways.mining.options import MiningOptions
from bothways.nearest import did_you_mean, meant, nearest
from bothways.objectives.supervised import SupervisedConfig
from bothways.pooling.config import PoolingConfig
from bothways.pooling.pool import Pooling
from bothways.training.recipe.recipe import Recipe


def test_upper_case_and_dashes_are_no_difference() -> None:
    assert nearest("Weighted-Mean", ["mean", "weighted_mean"]) == "weighted_mean"
    assert nearest("float-32", ["float16", "float32"]) == "float32"
    assert nearest("zebra", ["mean", "last"]) is None
    assert nearest("x", []) is None


def test_the_two_forms_of_the_message() -> None:
    assert meant("stss", ["sts", "pairs"]) == "did you mean 'sts'? "
    assert did_you_mean("sede", ["seed", "base"]) == "; did you mean 'seed'?"
    assert meant("zebra", ["sts"]) == did_you_mean("zebra", ["sts"]) == ""


def recipe(**stage: Any) -> Recipe:
    values = recipes.simcse(base="b", texts="t.txt").resolved()
    values["stages"][0] |= stage
    return Recipe.from_values(values, where="r.yaml")


def refuse(error: Exception) -> None:
    raise error


SETS: dict[str, tuple[Callable[[], Any], str]] = {
    "tasks": (lambda: make_task("retreival:x"), "retrieval"),
    "options of a task": (lambda: make_task("stdlib?nmae=x"), "name"),
    "values of an option": (lambda: make_task("passkey?style=publised"), "published"),
    "recipes": (lambda: recipes.get("nvembed"), "nv_embed"),
    "options of a recipe": (lambda: recipes.get("simcse").make({"supervized": "x"}), "supervised"),
    "presets": (lambda: recipes.get("simcse").make({}, preset="labtop"), "laptop"),
    "poolings": (lambda: Pooling("wieghted_mean"), "weighted_mean"),
    "poolings of a recipe": (lambda: PoolingConfig.of("latent-attention"), "latent_attention"),
    "objectives": (lambda: recipe(objective={"kind": "contrastiv"}), "contrastive"),
    "keys of a recipe": (lambda: recipe(bacth={"size": 2}), "batch"),
    "values of a key": (lambda: recipe(keep="adaptor"), "adapter"),
    "keys of an objective": (lambda: parse(SupervisedConfig, {"in_bacth": True}, where="r"), "in_batch"),
    "dialects": (lambda: named("tevatrn"), "tevatron"),
    "templates": (lambda: find_template("e5-mistral"), "e5_mistral"),
    "columns": (lambda: find_column("a.csv", ["headline", "label"], (), asked="headlin"), "headline"),
    "formats": (lambda: refuse(unknown_format(Path("texts.jsonll"))), ".jsonl"),
    "targets of exports": (lambda: export("m", "o", to="open-vino"), "openvino"),
    "types of numbers": (lambda: resolve_dtype("bfloat_16", "cpu"), "bfloat16"),
    "methods of mining": (lambda: MiningOptions(method="hybird"), "hybrid"),  # type: ignore[arg-type]
    "stores of mining": (lambda: MiningOptions(store="float-16"), "float16"),  # type: ignore[arg-type]
    "pairings": (lambda: triplets([], NliOptions(pairing="premises")), "premise"),  # type: ignore[arg-type]
    "positives of a class": (lambda: settled("lable", []), "label"),  # type: ignore[arg-type]
    "instructions": (lambda: styled_prompt("STS12", "nv-embed", "query"), "nv_embed"),
}


@pytest.mark.parametrize(("wrong", "right"), SETS.values(), ids=SETS)
def test_every_closed_set_offers_the_nearest_name(wrong: Callable[[], Any], right: str) -> None:
    with pytest.raises((BothwaysError, ValidationError), match=f"did you mean '{right}'"):
        wrong()


def test_a_value_far_from_every_name_gets_the_list_alone() -> None:
    class Form(Strict):
        form: str = "a"

    with pytest.raises(BothwaysError) as caught:
        named("zzzz")
    assert "did you mean" not in str(caught.value) and "flagembedding" in str(caught.value)
