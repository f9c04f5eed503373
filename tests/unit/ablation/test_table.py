"""The table's arithmetic, on numbers that papers print and numbers laid down by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bothways.ablation.table import Measured, short_titles, tabulate, whole_seeds
from unit.ablation.material import TASKS, cell, measured


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
