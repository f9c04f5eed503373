"""The section of differences: signs, intervals, and the cells that are more than chance."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bothways.report.charts.canvas import Style
from bothways.report.comparison import Comparison, Measure
from bothways.report.material import ReportedModel
from bothways.report.sections.differences import differences
from bothways.report.sections.section import Missing, Section


def comparison(scores: dict[str, float], spread: float | None = 0.02, better: str = "higher") -> Comparison:
    """One task. The replicates of each model but the first lie evenly within `spread` of its score."""
    around = np.linspace(-spread, spread, 101) if spread is not None else np.zeros(0)
    samples = {label: score + (around if i else 0 * around) for i, (label, score) in enumerate(scores.items())}
    task = Measure("news", "below", "news", better, 100.0, scores, {} if spread is None else samples, 9)  # type: ignore[arg-type]
    columns = [type("Kind", (), {"kind": "retrieval"})()]
    return Comparison([ReportedModel(label) for label in scores], next(iter(scores)), columns, [task], [], "", 1000, 7)


def drawn(found: Comparison) -> Section:
    section = differences(found, {label: Style(i) for i, label in enumerate(found.labels)})
    assert isinstance(section, Section)
    return section


def cells(table: str) -> list[tuple[str, str]]:
    return re.findall(r'<td(?: class="(\w+)")?[^>]*>(.*?)</td>', table)


def test_a_cell_is_model_minus_baseline_in_points_and_bold_if_it_is_clear() -> None:
    # the percentiles 2.5 and 97.5 of 101 numbers evenly in [v - s, v + s] are v ∓ 0.95 s
    section = drawn(comparison({"plain": 0.5, "mine": 0.54}))
    assert cells(section.body) == [("clear", "+4.0<small>+2.1 to +5.9</small>")]
    assert cells(drawn(comparison({"plain": 0.5, "mine": 0.495})).body) == [("", "−0.5<small>−2.4 to +1.4</small>")]
    assert "1,000 resamples" in section.lead and "seed 7" in section.lead


def test_without_items_there_is_no_interval_and_the_lead_says_so() -> None:
    section = drawn(comparison({"plain": 0.5, "mine": 0.54}, spread=None))
    assert cells(section.body) == [("", "+4.0<small>no interval</small>")]
    assert "No interval for news" in section.lead


def test_three_models_are_compared_with_each_other() -> None:
    section = drawn(comparison({"plain": 0.5, "one": 0.52, "two": 0.6}, spread=None))
    pairs = section.body.split("Every model against every other")[1]
    values = [shown.split("<")[0] for _, shown in cells(pairs)]
    assert values == ["·", "−2.0", "−10.0", "+2.0", "·", "−8.0", "+10.0", "+8.0", "·"]


def test_lower_is_better_is_said() -> None:
    assert "news (lower is better)" in drawn(comparison({"plain": 0.5, "mine": 0.4}, better="lower")).body


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (comparison({"plain": 0.5}), "Differences between models"),
        (comparison({"plain": 0.5, "mine": 0.4}, better="neither"), "share no ranked task"),
    ],
)
def test_nothing_to_compare(found: Comparison, words: str) -> None:
    section = differences(found, {})
    assert isinstance(section, Missing) and words in section.title
