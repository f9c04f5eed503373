"""Measurements: one line for all of them, when they are taken, and what counts as better."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bothways.training.hooks.evaluation import DevMeasurement, Measurements
from bothways.training.hooks.weight_average import WeightAverage
from bothways.training.recipe.stage_config import EvalConfig
from unit.training.hooks.material import ONE, OTHER, Log, Model, moment


class Watch:
    """A measurement that is always due, and notes if the dev metric had been taken before it."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def due(self, at) -> bool:
        return True

    def measure(self, at) -> dict[str, Any]:
        assert not at.better
        self.steps.append(at.step)
        return {"mean_cosine": 0.1}


def hook(
    values: list[float],
    *,
    every: int = 3,
    at_start: bool = False,
    readers: Any = ONE,
    save: int | None = None,
    also: tuple[int, ...] | None = None,
):
    given = iter(values)
    config = EvalConfig(metric="stdlib", every=every, at_start=at_start, also=also)
    encoder: Any = Model()
    metric = DevMeasurement(metric=lambda encoder: next(given), encoder=encoder, config=config, stage="mntp", readers=readers)
    log, watch = Log(), Watch()
    made: Any = Measurements(
        measurements=[watch, metric], encoder=encoder, eval=config, save_every=save, readers=readers, log=log
    )
    return made, log, watch


def test_one_line_for_all_figures_and_the_model_trains_on() -> None:
    made, log, _ = hook([0.4])
    made.after_step(moment(3))
    assert log.lines == [(3, {"mean_cosine": 0.1, "dev": 0.4, "dev_metric": "dev"})]
    assert made.encoder.training


def test_when_measurements_are_taken() -> None:
    made, log, watch = hook([0.1, 0.2, 0.3, 0.4], save=5)
    made.before_first_step(moment(0, 11))
    for step in range(1, 12):
        made.after_step(moment(step, 11))
    # evaluations, regular checkpoints, an early step, the last one
    assert watch.steps == [0, 3, 5, 6, 9, 10, 11]
    assert [step for step, values in log.lines if "dev" in values] == [3, 6, 9, 11]


def test_early_steps_are_measured_because_most_collapses_come_early() -> None:
    made, _, watch = hook([0.1, 0.2], every=100)
    made.before_first_step(moment(0, 101))
    for step in range(1, 102):
        made.after_step(moment(step, 101))
    assert watch.steps == [0, 10, 25, 50, 100, 101]


def test_averaged_weights_are_measured_and_the_trained_ones_come_back() -> None:
    made, log, _ = hook([])
    weight = torch.nn.Parameter(torch.zeros(1))
    made.average = WeightAverage(parameters={"a": weight}, decay=0.5)
    made.measurements[1].metric = lambda encoder: float(weight)
    for step in (1, 2, 3):
        with torch.no_grad():
            weight.fill_(float(step))
        made.average.after_step(moment(step))
        made.after_step(moment(step))
    # 1, then (1 + 2) / 2, then (1.5 + 3) / 2
    assert log.lines == [(3, {"mean_cosine": 0.1, "dev": 2.25, "dev_metric": "dev"})] and weight.item() == 3


def test_further_steps_are_evaluated() -> None:
    made, log, _ = hook([0.1, 0.2, 0.3, 0.4], every=5, also=(1, 7))
    for step in range(1, 12):
        made.after_step(moment(step, 20))
    assert [step for step, values in log.lines if "dev" in values] == [1, 5, 7, 10]


@pytest.mark.parametrize("at_start", [True, False])
def test_the_untrained_stage_is_evaluated_on_request(at_start: bool) -> None:
    made, log, _ = hook([0.4], at_start=at_start)
    at = moment(0)
    made.before_first_step(at)
    assert ("dev" in log.lines[0][1]) is at.better is at_start


def test_better_is_higher_than_the_best_so_far() -> None:
    made, _, _ = hook([0.4, 0.4, 0.3, 0.5])
    found, best = [], None
    for step in (3, 6, 9, 12):
        at = moment(step, 12, best=best)
        made.after_step(at)
        found.append(at.better)
        best = at.state.best
    assert found == [True, False, False, True]
    assert best == {"step": 12, "value": 0.5}


def test_another_process_measures_nothing() -> None:
    made, log, watch = hook([], readers=OTHER)
    made.after_step(moment(3))
    assert (log.lines, watch.steps) == ([], [])
