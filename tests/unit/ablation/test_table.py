"""The table's arithmetic, on numbers that papers print and numbers laid down by hand."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bothways.ablation.grid import Cell
from bothways.ablation.table import AblationTable, Measured, short_titles, tabulate, whole_seeds
from bothways.pooling import PoolingConfig

# LLM2Vec (arXiv 2404.05961), 15 tasks, mean and weighted mean: S-LLaMA-1.3B, Llama-2-7B,
# Mistral-7B, and the gain stated for each
PUBLISHED = [((33.03, 34.99), 52.40, 49.8), ((45.83, 47.85), 58.97, 23.2), ((43.00, 44.01), 60.50, 37.5)]
TASKS = [SimpleNamespace(name="sts:data/one.jsonl", main="spearman", higher_is_better=True, fingerprint="")]


def cell(row: str, pooling: str, seed: int | None = None, trained: bool = False) -> Cell:
    direction = "causal" if row.startswith("uni") else "bidirectional"
    made: Any = SimpleNamespace(label=row, direction=direction, stages=("stage",) if "+" in row else ())
    chosen = PoolingConfig(mode=pooling)
    node: Any = None if seed is None else SimpleNamespace(name=row)
    return Cell(made, chosen, chosen if trained else None, seed, node)


def measured(row: str, pooling: str, *scores: float, seed: int | None = None, tasks: list[Any] = TASKS) -> Measured:
    return Measured(cell(row, pooling, seed), {task.name: score for task, score in zip(tasks, scores)}, 1.0, "file")


def table(*found: Measured, tasks: list[Any] = TASKS) -> AblationTable:
    return tabulate("base", {}, tasks, found, ())


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


def test_rows_down_poolings_across() -> None:
    found = table(measured("uni", "mean", 0.1), measured("uni", "last", 0.2), measured("bi+simcse", "mean", 0.3, seed=0))
    lines = [
        [part.strip() for part in line.strip("|").split("|")] for line in found.markdown().splitlines() if line.startswith("|")
    ]
    assert lines[0] == ["", "mean", "last"]
    assert lines[2:4] == [["uni", "10.0 (-50.0 %)", "20.0"], ["bi+simcse", "**30.0** (+50.0 %)", "-"]]


def test_another_pooling_than_the_trained_one_has_a_column_of_its_own() -> None:
    other = Cell(cell("bi+simcse", "mean", 0).row, PoolingConfig(mode="weighted_mean"), PoolingConfig(mode="mean"), 0, None)
    found = table(Measured(other, {TASKS[0].name: 0.5}, 0.0, "file"))
    assert found.lines[0].under == "weighted mean (trained: mean)"


def test_only_complete_seeds_count_once_there_is_one() -> None:
    cells = [cell("uni", "mean"), *(cell(row, "mean", seed) for seed in (0, 1) for row in ("bi+mntp", "bi+simcse"))]
    found = [Measured(each, {TASKS[0].name: 0.1}, 0.0, "file") for each in cells]
    assert whole_seeds(cells, found[:2]) == found[:2]  # before one is complete: everything
    assert whole_seeds(cells, found[:3]) == found[:3]
    assert whole_seeds(cells, found[:4]) == found[:3]
    assert whole_seeds(cells, found) == found


def test_titles_are_short_and_unique() -> None:
    names = [
        "sts:../data/stsb/dev.jsonl",
        "sts:../data/stsb/test.jsonl",
        "sts:../data/sts12/test.jsonl.gz",
        "retrieval:../data/scifact",
    ]
    assert short_titles(names) == ["stsb/dev", "stsb/test", "sts12/test", "scifact"]
    assert short_titles(["sts:a/x.tsv", "sts:b/x.tsv"]) == ["a/x", "b/x"]
    assert short_titles(["sts:x", "geometry:x"]) == ["sts:x", "geometry:x"]
    assert short_titles(["stdlib", "sts:x?aggregation=mean"]) == ["stdlib", "x?aggregation=mean"]


def test_names_cannot_break_the_table(tmp_path: Path) -> None:
    tasks: list[Any] = [SimpleNamespace(name="sts:a|b", main="spearman", higher_is_better=True, fingerprint="")]
    found = table(measured("uni", "mean", 0.5, tasks=tasks), tasks=tasks)
    found.save(tmp_path)
    assert "a\\|b" in (tmp_path / "table.md").read_text()
    assert json.loads((tmp_path / "table.json").read_text())["lines"][0]["tasks"]["sts:a|b"]["values"] == [0.5]


def test_what_chose_the_checkpoints_is_shown_and_not_averaged() -> None:
    tasks: list[Any] = [
        SimpleNamespace(name=f"sts:x/{name}.jsonl", main="spearman", higher_is_better=True, fingerprint=name)
        for name in ("dev", "test")
    ]
    row = measured("bi+simcse", "mean", 0.9, 0.5, seed=0, tasks=tasks)
    found = tabulate("base", {}, tasks, [row], (), {"dev"})
    assert found.lines[0].averages(found.columns) == [0.5]
    assert "Checkpoints were chosen on x/dev, which the average leaves out." in found.markdown()
    assert "90.0" in found.markdown()
    alone = tabulate("base", {}, tasks[:1], [row], (), {"dev"})  # the only task there is has to be what is looked at
    assert alone.lines[0].averages(alone.columns) == [0.9]
