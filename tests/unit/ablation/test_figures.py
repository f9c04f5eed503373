"""Averages, the baseline and gains, on numbers that papers print."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bothways.ablation.grid import Cell
from bothways.ablation.table import Measured
from bothways.pooling import PoolingConfig
from unit.ablation.material import TASKS, cell, measured, table

# LLM2Vec (arXiv 2404.05961), 15 tasks, mean and weighted mean: S-LLaMA-1.3B, Llama-2-7B,
# Mistral-7B, and the gain stated for each
PUBLISHED = [((33.03, 34.99), 52.40, 49.8), ((45.83, 47.85), 58.97, 23.2), ((43.00, 44.01), 60.50, 37.5)]


@pytest.mark.parametrize(("causal", "best", "percent"), PUBLISHED)
def test_the_gain_is_stated_as_llm2vec_states_it(causal: tuple[float, float], best: float, percent: float) -> None:
    found = table(
        measured("uni", "mean", causal[0] / 100),
        measured("uni", "weighted_mean", causal[1] / 100),
        measured("bi+mntp+simcse", "mean", best / 100, seed=0),
    )
    assert found.baseline is not None
    assert found.baseline.pooling == "weighted_mean"
    assert found.gain(found.lines[2]) == pytest.approx(percent, abs=0.05)  # published to one decimal
    assert f"**{best:.1f}** ({percent:+.1f} %)" in found.markdown()
    assert found.gain(found.baseline) is None


def test_trained_causal_rows_are_no_baseline() -> None:
    found = table(measured("uni+simcse", "mean", 0.9, seed=0), measured("bi", "mean", 0.3))
    assert found.baseline is None
    assert "%" not in found.markdown()
    low = table(measured("uni", "mean", -0.1), measured("bi", "mean", 0.3))  # a ratio to a negative number says nothing
    assert low.baseline is None


def test_average_is_taken_per_seed_over_the_tasks_that_rank() -> None:
    tasks: list[Any] = [
        *TASKS,
        SimpleNamespace(name="sts:data/two.jsonl", main="spearman", higher_is_better=True, fingerprint=""),
        SimpleNamespace(name="geometry:x", main="uniformity", higher_is_better=False, fingerprint=""),
    ]
    found = table(
        measured("bi+simcse", "mean", 0.2, 0.4, -3.0, seed=0, tasks=tasks),
        measured("bi+simcse", "mean", 0.4, 0.8, -2.0, seed=1, tasks=tasks),
        tasks=tasks,
    )
    (line,) = found.lines
    assert line.averages(found.columns) == pytest.approx([0.3, 0.6])
    assert "-2.500 ± 0.707" in found.markdown()
    assert "**-2.500" not in found.markdown()
    assert "Average of 2 tasks" in found.markdown()


def test_another_pooling_than_the_trained_one_has_a_column_of_its_own() -> None:
    other = Cell(cell("bi+simcse", "mean", 0).row, PoolingConfig(mode="weighted_mean"), PoolingConfig(mode="mean"), 0, None)
    found = table(Measured(other, {TASKS[0].name: 0.5}, 0.0, "file"))
    assert found.lines[0].under == "weighted mean (trained: mean)"
