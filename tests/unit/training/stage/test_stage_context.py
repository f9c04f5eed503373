"""The folders and the seeds of a stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from bothways.training.loop.randomness import derive
from bothways.training.recipe.recipe import Recipe
from bothways.training.stage.stage_context import StageContext
from unit.training.material import mntp, simcse


def contexts(*keep: str, out: Path | None = Path("out")) -> list[StageContext]:
    stages = [mntp(keep=keep[0]), simcse(keep=keep[1])]
    return StageContext.all_of(Recipe.from_values({"name": "test", "base": "a/b", "seed": 3, "stages": stages}), out)


def test_the_last_stage_saves_into_the_run_and_the_others_below_it() -> None:
    first, last = contexts("both", "both")
    assert (first.name, last.name) == ("mntp", "simcse")
    assert (first.final, last.final) == (False, True)
    assert (first.output, last.output) == (Path("out/stages/1-mntp"), Path("out"))
    assert last.adapter_folder == Path("out/adapters/2-simcse")
    assert first.checkpoint_folder == Path("out/checkpoints/1-mntp")
    assert first.before is None
    assert last.before == first


def test_a_stage_that_keeps_its_adapter_alone_has_no_other_folder() -> None:
    first, last = contexts("adapter", "adapter")
    assert (first.output, last.output) == (Path("out/adapters/1-mntp"), Path("out"))


def test_a_dry_run_has_no_folders() -> None:
    first, _ = contexts("both", "both", out=None)
    with pytest.raises(RuntimeError, match=r"stages\.mntp: a dry run has no folders"):
        _ = first.output


def test_seeds_differ_by_stage_name_and_place() -> None:
    first, last = contexts("both", "both")
    # what checkpoints and folders of earlier versions were made with
    assert first.seed("adapter") == derive(3, "adapter", 0)
    drawn = [each.seed(name, *place) for each in (first, last) for name in ("adapter", "objective") for place in ((), (1,))]
    assert len(set(drawn)) == len(drawn)
