"""Training curves: one chart per stage and curve, and the best dev score of each stage."""

from __future__ import annotations

from typing import Any

from bothways.report.charts.canvas import Style
from bothways.report.material import TrainingRun
from bothways.report.sections.curves import curves, loss_words
from bothways.report.sections.section import Missing, Section

STYLES = {"one": Style(0), "two": Style(1)}


def run(label: str, *lines: dict[str, Any]) -> TrainingRun:
    return TrainingRun(label, label, list(lines), "", {})


def body(*runs: TrainingRun) -> str:
    found = curves(runs, STYLES)
    assert isinstance(found, Section)
    return found.body


def test_a_chart_for_each_stage_and_curve_with_the_ends_of_every_run() -> None:
    first = [{"stage": "mntp", "step": step, "loss": 10.0 - step} for step in (3, 1, 2)]  # sorted by step
    second = [{"stage": "mntp", "step": 1, "loss": 4.0}, {"stage": "simcse", "step": 1, "loss": 0.5, "mean_cosine": 0.25}]
    drawn = body(run("one", *first), run("two", *second))
    assert drawn.count('class="chart"') == 3
    assert "mntp: training loss" in drawn and "simcse: mean cosine of unrelated texts" in drawn
    assert "one from 9 to 7; two from 4 to 4" in drawn


def test_the_best_dev_score_is_named_with_its_metric() -> None:
    lines = [
        {"stage": "s", "step": step, "dev": dev, "dev_metric": "sts:<x>"} for step, dev in ((10, 0.5), (20, 0.71), (30, 0.7))
    ]
    drawn = body(run("one", *lines))
    assert "s: best 71.0 at step 20 (sts:&lt;x&gt;)" in drawn
    assert "one from 50 to 70" in drawn, "scores are in points"


def test_values_that_are_not_finite_numbers_are_left_out() -> None:
    odd = [{"stage": "s", "step": i, "loss": loss} for i, loss in enumerate((float("nan"), float("inf"), True, "x", None))]
    found = curves([run("one", *odd)], STYLES)
    assert isinstance(found, Missing) and "RUN_FOLDER" in found.command
    drawn = body(run("one", *odd, {"stage": "s", "step": 9, "loss": 2.0}))
    assert "one from 2 to 2" in drawn


def test_steps_and_tokens_of_each_stage() -> None:
    lines = [{"stage": "a", "step": 5, "tokens": 100}, {"stage": "a", "step": 7, "tokens": None}, {"stage": "b", "step": 1}]
    assert loss_words(run("one", *lines)) == {"a": {"steps": 7, "tokens": 100}, "b": {"steps": 1, "tokens": 0}}
