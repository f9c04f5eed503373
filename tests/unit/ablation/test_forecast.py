"""A dry run lists the work and estimates its time."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.ablation.forecast import Forecast, Measuring, PlannedTraining, duration
from unit.ablation.material import POOLINGS, ROWS, World, plan, snapshot


def test_a_dry_run_writes_nothing_and_tells_everything(world: World, copy: Path, tmp_path: Path) -> None:
    before = snapshot(world.folder), snapshot(copy)
    nothing = tmp_path / "nothing"
    forecast = bw.ablate(plan(world), nothing, dry_run=True)
    assert not nothing.exists()
    assert not list(tmp_path.glob(".nothing*"))
    assert [(each.name, each.action) for each in forecast.trainings] == [
        ("bidirectional-mean-mntp-seed0", "train"),
        ("bidirectional-mean-mntp-simcse-seed0", "train"),
        ("bidirectional-last-mntp-simcse-seed0", "train"),
    ]
    assert all(each.seconds > 0 for each in forecast.trainings)
    assert sum(len(each.tasks) for each in forecast.measurings) == 2 * len(ROWS) * len(POOLINGS)
    assert all(task in forecast.lines()[-1] for task in world.tasks)  # whose time nothing tells yet
    # with results in the folder the time of a measurement is known, and what is finished is not
    # counted
    forecast = bw.ablate(plan(world, seeds=[0, 1]), copy, dry_run=True)
    assert [each.action for each in forecast.trainings] == ["reuse"] * 3 + ["train"] * 3
    left = [each for each in forecast.measurings if each.tasks]
    assert {each.name for each in left} == {f"{row}-{p}-seed1" for row in ROWS[2:] for p in POOLINGS}
    assert all(each.seconds > 0 and not each.unknown for each in left)
    assert forecast.seconds == pytest.approx(sum(each.seconds for each in (*forecast.trainings, *left)))  # type: ignore[misc]
    assert before == (snapshot(world.folder), snapshot(copy))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (121, "2 min"), (7100, "118 min"), (7201, "2.0 h"), (12_600, "3.5 h")]
)
def test_times_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_lines_add_up() -> None:
    trainings = (
        PlannedTraining("a", "train", 60.0),
        PlannedTraining("b", "reuse", 0.0),
        PlannedTraining("c", "retrain", 30.0, "lr (1 → 2)"),
    )
    measurings = (
        Measuring("x", ("sts", "new"), 10.0, ("new",)),
        Measuring("y", (), 0.0, ()),
        Measuring("z", ("new",), 0.0, ("new",)),
    )
    found = Forecast(trainings, measurings, ("uni: random",))
    assert found.seconds == 100
    assert found.lines() == [
        "train a, about 60 s",
        "reuse b",
        "retrain c, about 30 s: lr (1 → 2)",
        "measure x: 2 tasks, about 10 s",
        "reuse results y",
        "measure z: 1 tasks",
        "left out: uni: random",
        "in all: 2 to train, 1 to reuse, 2 to measure; about 100 s, plus the unknown time to measure new",
    ]
