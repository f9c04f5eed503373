"""Measurements inside a model: layer maps with the last layer on top, prefix margins, hidden keys."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bothways.evaluation.results import Record
from bothways.report.charts.canvas import Style
from bothways.report.charts.colors import level
from bothways.report.comparison import Comparison, compare
from bothways.report.material import ReportedModel
from bothways.report.sections.models import layer_maps, passkey, prefix
from bothways.report.sections.section import Missing, Section
from unit.report.material import digest

STYLES = {"one": Style(0), "two": Style(1)}


def comparison(kind: str, metric: str, **details: dict[str, Any]) -> Comparison:
    models = [
        ReportedModel(label, {kind: Record(kind, metric, {metric: 0.5}, found, digest(kind), 1.0)})
        for label, found in details.items()
    ]
    return compare(models, baseline=None, resamples=10, seed=0)


def body(found: Section | Missing) -> str:
    assert isinstance(found, Section)
    return found.body


def layers(*rows: list[float]) -> dict[str, Any]:
    return {"heatmap": list(rows), "tokens": ["The", "\n"]}


def test_equal_maps_are_drawn_once_with_both_names() -> None:
    same, other = layers([1.0, 0.5], [0.25, 0.25]), layers([1.0, 1.0], [0.0, 0.0])
    drawn = body(layer_maps(comparison("layers", "mean_cosine", one=same, two=same), STYLES))
    assert drawn.count('class="chart"') == 1
    assert "one and two: mean 0.50" in drawn
    assert body(layer_maps(comparison("layers", "mean_cosine", one=same, two=other), STYLES)).count('class="chart"') == 2


def test_the_last_layer_is_on_top_and_a_blank_token_has_a_sign() -> None:
    drawn = body(layer_maps(comparison("layers", "mean_cosine", one=layers([1.0, 1.0], [0.0, 0.0])), STYLES))
    rows = {fill: float(y) for y, fill in re.findall(r'<path d="M[\d.]+ ([\d.]+)h[^"]+" fill="(#\w+)" class="cells"', drawn)}
    bottom, top = level(31.5 / 32), level(0.5 / 32)
    assert rows[top] < rows[bottom], "y grows downwards"
    assert "␣" in drawn
    assert 'class="scroll"' in drawn


def test_margins_above_zero_are_counted() -> None:
    triples = [{"cos_same": 0.5 + gain, "cos_other": 0.5} for gain in (0.1, 0.2, -0.1, 0.0)]
    assert "one: 2 of 4 above zero" in body(prefix(comparison("prefix", "share", one={"triples": triples}), STYLES))


def test_one_map_of_hidden_keys_per_model_with_its_share() -> None:
    found = {"accuracy": [[1.0, 0.5], [0.0, 0.5]], "lengths": [512, 1024], "depths": [0, 1]}
    drawn = body(passkey(comparison("passkey", "accuracy", one=found, two=found), STYLES))
    assert drawn.count('class="chart"') == 2
    assert "50 % right" in drawn and "1,024" in drawn and "100 %" in drawn


@pytest.mark.parametrize(
    ("section", "command"), [(layer_maps, "layers:TEXTFILE"), (prefix, "--task prefix"), (passkey, "--task passkey")]
)
def test_nothing_measured_names_the_command(section: Any, command: str) -> None:
    found = section(comparison("sts", "spearman", one={}), STYLES)
    assert isinstance(found, Missing) and command in found.command
