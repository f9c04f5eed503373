"""Stages that contradict themselves are refused, and what a stage keeps follows from its
adapter.
"""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bothways.training.recipe.stage_config import HeldOutConfig, Stage
from unit.training.material import mntp, simcse


@pytest.mark.parametrize("name", ["a stage", "-first", "3", "", "a/b"])
def test_a_name_is_a_folder_and_an_address(name: str) -> None:
    with pytest.raises(ValidationError, match="use letters, digits"):
        Stage.model_validate(mntp(name=name))


@pytest.mark.parametrize(
    ("keep", "adapter", "kept"),
    [("adapter", {"r": 4}, True), ("both", {"r": 4}, True), ("merged", {"r": 4}, False), ("both", None, False)],
)
def test_an_adapter_is_kept_if_there_is_one(keep: str, adapter: dict[str, Any] | None, kept: bool) -> None:
    assert Stage.model_validate(mntp(keep=keep, adapter=adapter)).keeps_adapter is kept


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (simcse(heldout={"share": 0.1, "every": 1}), "need dropout, so it has no value in evaluation"),
        (mntp(refresh={"every": 2}), "refresh: has no meaning for the objective mntp"),
        (simcse(batch={"size": 1}), "batch.size: a single text"),
        (mntp(data={"source": "a", "tasks": [], "dialect": "e5"}), "data.dialect: has no meaning"),
    ],
)
def test_contradictions_are_refused(stage: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Stage.model_validate(stage)


def test_held_out_sources_are_those_of_other_data() -> None:
    assert HeldOutConfig.model_validate({"data": {"source": ["a", "b"]}, "every": 1}).sources == ("a", "b")
    assert HeldOutConfig.model_validate({"share": 0.5, "every": 1}).sources == ()
