"""The printed table: rows down, poolings across, means with deviations."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unit.ablation.material import measured, table


def test_mean_and_sample_deviation_over_seeds() -> None:
    scores = [0.611, 0.640, 0.652]
    found = table(
        *(measured("bi+simcse", "mean", score, seed=seed) for seed, score in enumerate(scores)), measured("uni", "mean", 0.5)
    )
    mean, spread = 100 * statistics.mean(scores), 100 * statistics.stdev(scores)
    assert f"{mean:.1f} ± {spread:.1f}" in found.markdown()
    assert "mean ± standard deviation over the seeds 0, 1, 2" in found.markdown()
    line = found.as_dict()["lines"][0]
    assert line["average"] == {"mean": pytest.approx(mean / 100), "std": pytest.approx(spread / 100), "values": scores}
    assert "50.0" in found.markdown()
    assert "50.0 ±" not in found.markdown()


def test_rows_down_poolings_across() -> None:
    found = table(measured("uni", "mean", 0.1), measured("uni", "last", 0.2), measured("bi+simcse", "mean", 0.3, seed=0))
    lines = [
        [part.strip() for part in line.strip("|").split("|")] for line in found.markdown().splitlines() if line.startswith("|")
    ]
    assert lines[0] == ["", "mean", "last"]
    assert lines[2:4] == [["uni", "10.0 (-50.0 %)", "20.0"], ["bi+simcse", "**30.0** (+50.0 %)", "-"]]


def test_names_cannot_break_the_table(tmp_path: Path) -> None:
    tasks: list[Any] = [SimpleNamespace(name="sts:a|b", main="spearman", higher_is_better=True, fingerprint="")]
    found = table(measured("uni", "mean", 0.5, tasks=tasks), tasks=tasks)
    found.save(tmp_path)
    assert "a\\|b" in (tmp_path / "table.md").read_text()
    assert json.loads((tmp_path / "table.json").read_text())["lines"][0]["tasks"]["sts:a|b"]["values"] == [0.5]
