"""Details of results files are read into charts, and anything of another form is None."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bothways.evaluation.results import Record
from bothways.report import findings


def record(metrics: dict[str, Any] | None = None, **details: Any) -> Record:
    return Record("kind", "score", metrics or {"score": 0.5}, details, "0" * 64, 1.0)


def test_numbers_and_matrices() -> None:
    assert findings.numbers([1, 2.5]) == [1.0, 2.5]
    for wrong in (None, 3, "12", b"12", [], [True], ["1"], [float("nan")], [float("inf")], {"a": 1}):
        assert findings.numbers(wrong) is None
    assert findings.numbers([1.0], at_least=2) is None
    assert findings.matrix([[1, 2], [3, 4]]) == [[1.0, 2.0], [3.0, 4.0]]
    for broken in ([], "ab", [[1, 2], [3]], [[1], [None]], [1, 2]):
        assert findings.matrix(broken) is None


def test_geometry() -> None:
    assert findings.spectrum(record(spectrum=[2.0, 1.0])) == [2.0, 1.0]
    assert findings.spectrum(record(spectrum=[0.0, 0.0])) is None
    assert findings.lens(record({"uniformity": -2.0, "alignment": 0.3})) == (-2.0, 0.3)
    assert findings.lens(record({"uniformity": -2.0})) is None


def test_densities_count_every_pair_once_in_the_bin_of_its_gold_score() -> None:
    rng = np.random.default_rng(0)
    gold, cosine = rng.integers(0, 26, 200) / 5, rng.uniform(-0.2, 0.9, 200)
    rows = findings.densities(record(items={"predicted": cosine.tolist(), "gold": gold.tolist()}))
    assert rows is not None
    ends = [gold.min(), 1.0, 2.0, 3.0, 4.0, gold.max()]
    assert (ends[0], ends[-1]) == (0.0, 5.0)
    for place, row in enumerate(rows):
        last = place == 4
        inside = [c for c, g in zip(cosine, gold) if ends[place] <= g < ends[place + 1] or (last and g == 5.0)]
        assert row.total == len(inside)
        middles = (np.array(row.edges[1:]) + row.edges[:-1]) / 2
        # a pair lies at most half a cell from the middle of its cell
        assert abs(np.dot(row.counts, middles) / row.total - np.mean(inside)) < (row.edges[1] - row.edges[0]) / 2
    assert findings.densities(record(items={"predicted": [0.5] * 200, "gold": [1.0] * 200})) is None, "one gold score"
    assert findings.densities(record(items={"predicted": cosine[:49].tolist(), "gold": gold[:49].tolist()})) is None


def test_measured_densities_are_taken_as_they_are() -> None:
    rows = findings.densities(record(densities={"0-1": {"edges": [0, 0.5, 1], "counts": [3, 4]}}))
    assert rows is not None and [(row.name, row.counts) for row in rows] == [("0-1", [3.0, 4.0])]
    assert findings.densities(record(densities={"0-1": {"edges": [0, 1], "counts": [3, 4]}})) is None


def test_layers_need_a_token_for_each_column() -> None:
    assert findings.layers(record(heatmap=[[1, 0]], tokens=["a", 5])) == ([[1.0, 0.0]], ["a", "5"])
    assert findings.layers(record(heatmap=[[1, 0]], tokens=["a"])) is None


def test_margins_are_same_minus_other() -> None:
    triples = [{"cos_same": 0.9, "cos_other": 0.5}, {"cos_same": 0.2, "cos_other": 0.3}]
    assert findings.margins(record(triples=triples)) == pytest.approx([0.4, -0.1])
    assert findings.margins(record(triples=[{"cos_same": 0.9}])) is None


def test_passkey_by_depth_or_by_length_alone() -> None:
    values = [[1.0, 0.5], [0.0, 0.25]]
    found = findings.passkey(record(accuracy=values, lengths=[512, 1024], depths=[0, 0.5]))
    assert found == (values, ["0 %", "50 %"], ["512", "1,024"])
    assert findings.passkey(record(accuracy=[1.0, 0.5], lengths=[512, 1024])) == ([[1.0, 0.5]], ["all"], ["512", "1,024"])
    assert findings.passkey(record(accuracy=values, lengths=[512])) is None
    assert findings.passkey(record(accuracy=values, lengths=[512, 1024], depths=[0])) is None
