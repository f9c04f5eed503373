"""Differences and averages of models equal a naive paired bootstrap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bothways.evaluation.results import Results
from bothways.report.bootstrap import draws
from bothways.report.comparison import compare
from bothways.report.markup import number
from bothways.report.material import gather
from bothways.report.page import build
from unit.report.material import QUERIES, sts_record, write_results

FEW = 200


def test_differences_are_those_of_a_naive_paired_bootstrap(tmp_path: Path) -> None:
    paths = write_results(tmp_path, 2)
    models = gather(paths).models
    comparison = compare(models, baseline=None, resamples=FEW, seed=3)
    measure = next(measure for measure in comparison.tasks if measure.title == "retrieval:data/news")
    old, new = (np.array(model.records["retrieval:data/news"].details["items"]["values"]) for model in models)
    picked = draws(np.zeros(QUERIES, dtype=np.int64), FEW, 3, models[0].records["retrieval:data/news"].data)
    naive = np.array([new[rows].mean() - old[rows].mean() for rows in picked])
    value, ends = measure.difference(models[1].label, models[0].label) or (0, None)
    assert value == pytest.approx(new.mean() - old.mean(), abs=1e-6)  # items have seven decimals
    assert ends == pytest.approx(tuple(np.percentile(naive, [2.5, 97.5])), abs=1e-12)
    average = comparison.averages[0]
    both = [comparison.tasks[i].samples[models[1].label] for i in range(2)]
    assert average.interval(models[1].label) == pytest.approx(
        tuple(np.percentile(np.mean(both, axis=0), [2.5, 97.5])), abs=1e-12
    )
    page = build(paths, resamples=FEW, seed=3)
    low, high = (number(100 * end, 1, sign=True) for end in ends or (0, 0))
    assert f"{number(100 * value, 1, sign=True)}<small>{low} to {high}</small>" in page
    assert "seed 3" in page


def test_data_that_differs_is_not_compared(tmp_path: Path) -> None:
    for i in range(2):
        Results({"sts:x/dev.jsonl": sts_record(0.5, i, data=f"data{i}")}, {"model": {"name": f"m{i}"}}).save(
            tmp_path / f"{i}.json"
        )
    page = build([tmp_path / "0.json", tmp_path / "1.json"], resamples=FEW)
    assert "Different data under one name, so not compared: <code>sts:x/dev.jsonl</code>" in page
    assert "share no ranked task on the same data" in page
