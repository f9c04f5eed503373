"""The geometry of vectors: values by task and model, the axis of the spectrum, ridges on one axis."""

from __future__ import annotations

from typing import Any

import pytest

from bothways.evaluation.results import Record
from bothways.report.charts.canvas import Style
from bothways.report.comparison import Comparison, compare
from bothways.report.material import ReportedModel
from bothways.report.sections.geometry import by_column, densities, geometry
from bothways.report.sections.section import Missing, Section
from unit.report.material import digest, sts_record

STYLES = {"one": Style(0), "two": Style(1)}


def measured(seed: int, **details: Any) -> Record:
    return Record("geometry", "uniformity", {"uniformity": -2.0 - seed, "alignment": 0.25}, details, digest("sts"), 1.0)


def comparison(**records: Record) -> Comparison:
    models = [ReportedModel(label, {"geometry:x": record}) for label, record in records.items()]
    return compare(models, baseline=None, resamples=10, seed=0)


def body(found: Section | Missing) -> str:
    assert isinstance(found, Section)
    return found.body


def test_values_by_task_and_model() -> None:
    found = comparison(one=measured(0), two=measured(1))
    ((column, values),) = by_column(found, lambda record: record.metrics["uniformity"])
    assert (column.task, values) == ("geometry:x", {"one": -2.0, "two": -3.0})
    assert by_column(found, lambda record: None) == []


def test_the_map_and_the_spectrum_tell_their_numbers() -> None:
    drawn = body(geometry(comparison(one=measured(0, spectrum=[4.0, 3.0, 1.9, 1.0]), two=measured(1)), STYLES))
    assert "one: uniformity -2.00, alignment 0.25; two: uniformity -3.00, alignment 0.25" in drawn
    assert "one: half of the largest at number 3" in drawn
    assert drawn.count('class="chart"') == 2


def test_singular_values_that_are_rounding_are_not_drawn() -> None:
    whole = body(geometry(comparison(one=measured(0, spectrum=[1.0, 0.5, 0.3])), STYLES))
    longer = body(geometry(comparison(one=measured(0, spectrum=[1.0, 0.5, 0.3, 1e-9])), STYLES))
    assert whole == longer


def test_nothing_measured_names_the_command() -> None:
    plain = comparison(one=Record("sts", "spearman", {"spearman": 0.5}, {}, digest("x"), 1.0))
    for section, command in ((geometry, "--task geometry:PAIRS"), (densities, "--task sts:PAIRS")):
        found = section(plain, STYLES)
        assert isinstance(found, Missing) and command in found.command


def test_measured_densities_come_before_those_counted_from_pairs() -> None:
    ridge = {"low": {"edges": [0.0, 0.5, 1.0], "counts": [3, 0]}, "high": {"edges": [0.0, 0.5, 1.0], "counts": [0, 4]}}
    both = ReportedModel("one", {"sts:y": sts_record(0.5, 0), "geometry:x": measured(0, densities=ridge)})
    drawn = body(densities(compare([both], baseline=None, resamples=10, seed=0), STYLES))
    assert drawn.count('class="chart"') == 1
    assert "gold low: mean cosine 0.25 over 3 pairs; gold high: mean cosine 0.75 over 4 pairs" in drawn


@pytest.mark.parametrize("count", [1, 2])
def test_pairs_of_one_sts_task_show_densities(count: int) -> None:
    models = [ReportedModel(label, {"sts:y": sts_record(0.5, i)}) for i, label in enumerate(("one", "two")[:count])]
    drawn = body(densities(compare(models, baseline=None, resamples=10, seed=0), STYLES))
    assert drawn.count('class="chart"') == count
