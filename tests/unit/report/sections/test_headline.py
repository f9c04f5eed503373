"""The table of scores: marks of the best, of chance, and of a task without a score."""

from __future__ import annotations

import re

import numpy as np

from bothways.report.charts.canvas import Style
from bothways.report.comparison import Comparison, Measure
from bothways.report.material import ReportedModel
from bothways.report.sections.headline import headline
from bothways.report.sections.section import Section


def measure(scores: dict[str, float], spread: float = 0.02, better: str = "higher", scale: float = 100.0) -> Measure:
    samples = {label: score + np.linspace(-spread, spread, 101) * i for i, (label, score) in enumerate(scores.items())}
    return Measure("news", "retrieval", "news", better, scale, scores, samples, 9)  # type: ignore[arg-type]


def drawn(*tasks: Measure, labels: tuple[str, ...] = ("plain", "mine")) -> Section:
    models = [ReportedModel(label) for label in labels]
    columns: list = []
    return headline(
        Comparison(models, labels[0], columns, list(tasks), [], "", 10, 0),
        {label: Style(i) for i, label in enumerate(labels)},
    )


def cells(section: Section) -> list[tuple[str, str]]:
    """Class and text of each cell of the table, row by row."""
    table = section.body.split("</table>")[0]
    return [(kind, re.sub("<.*", "", shown)) for kind, shown in re.findall(r'<td(?: class="([\w ]+)")?[^>]*>(.*?)</td>', table)]


def test_the_best_is_marked_and_one_that_may_be_level_is_dotted() -> None:
    assert cells(drawn(measure({"plain": 0.5, "mine": 0.54}))) == [("", "50.0"), ("best", "54.0")]
    section = drawn(measure({"plain": 0.53, "mine": 0.54}))
    assert cells(section) == [("level", "53.0"), ("best", "54.0")]
    assert "may be chance" in section.body
    assert cells(drawn(measure({"plain": 12.0, "mine": 11.0}, 0.1, "lower", 1.0))) == [("", "12.00"), ("best", "11.00")]


def test_a_measure_that_does_not_rank_has_no_mark_and_the_key_says_so() -> None:
    section = drawn(measure({"plain": -2.0, "mine": -3.0}, better="neither", scale=1.0))
    assert cells(section) == [("", "−2.000"), ("", "−3.000")]
    assert "Columns without a mark do not rank models" in section.body


def test_a_score_that_was_not_measured_is_a_dash() -> None:
    assert cells(drawn(measure({"mine": 0.5}))) == [("none", "–"), ("", "50.0")]


def test_the_baseline_is_named_if_there_are_several_models() -> None:
    assert drawn(measure({"plain": 0.5, "mine": 0.54})).body.count("baseline") == 1
    alone = drawn(measure({"plain": 0.5}), labels=("plain",))
    assert "baseline" not in alone.body
    assert "Scores, with 95 % intervals" in alone.body


def test_the_direction_of_a_metric_is_in_its_heading() -> None:
    assert "retrieval ↓" in drawn(measure({"plain": 1.0, "mine": 2.0}, better="lower", scale=1.0)).body
    assert "↓" not in drawn(measure({"plain": 0.1, "mine": 0.2})).body
