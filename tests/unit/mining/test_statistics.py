"""Every document of a run is counted once, with a reason."""

from __future__ import annotations

import json

import numpy as np

from bothways.data.labeled.example import Example
from bothways.mining import mine
from bothways.mining.options import MiningOptions
from bothways.mining.select import Choice
from bothways.mining.statistics import Counts, Statistics, quantiles
from unit.mining.material import collection, scattered


def test_every_document_of_the_window_is_accounted_for() -> None:
    examples, corpus = collection()
    found = mine(examples, corpus, method="dense", encoder=scattered, window=(3, 25), negatives=5, sample=100)
    statistics = found.statistics
    before = sum(statistics.counts.filtered[name] for name in ("a known answer, or a copy", "the query itself, or a copy"))
    ranked = sum(statistics.counts.filtered.values()) - before - statistics.counts.filtered["of the same label"]
    assert ranked + statistics.counts.spare + statistics.negatives == 25 * len(examples)
    assert len(found.samples) == len(examples)
    for sample, row in zip(found.samples, found.examples):
        assert tuple(seen.text for seen in sample.negatives) == row.negatives
        assert all(seen.rank >= 3 and not seen.reason for seen in sample.negatives)
        assert all(seen.reason for seen in sample.filtered)
    assert [sample.row for sample in mine(examples, corpus, sample=3).samples] == sorted(
        sample.row for sample in mine(examples, corpus, sample=3).samples
    )
    assert all("\n" not in line for line in statistics.lines())


def test_quantiles_are_those_of_numpy_by_name() -> None:
    values = np.random.default_rng(0).standard_normal(101).tolist()
    assert quantiles(values) == {f"q{q:02d}": round(float(np.percentile(values, q)), 6) for q in (0, 5, 25, 50, 75, 95, 100)}
    assert quantiles([]) == {}


def test_counts_of_blocks_add_up_and_survive_their_file() -> None:
    blocks = [Counts(), Counts()]
    blocks[0].add(Choice([1], [0.5], [1], [0.9], [(0, 2, 0.7, "answer"), (2, 3, 0.6, "near")], 4, 1))
    blocks[1].add(Choice([], [], [], [0.9], [(1, 2, 0.7, "near"), (2, 3, 0.6, "near"), (3, 4, 0.5, "answer")], 0))
    blocks[1].add(Choice([], [], [], [0.9], [], 0))
    for block in blocks[1:]:
        blocks[0].merge(Counts.from_dict(json.loads(json.dumps(block.as_dict()))))
    total = blocks[0]
    assert total.filtered == {"near": 3, "answer": 2}
    assert (total.spare, total.filled) == (4, 1)
    assert total.empty_by == {"near": 1, "no document ranked": 1}


def test_finished_rows_are_full_short_or_without() -> None:
    rows = [
        Example("full", ("p",), ("a", "b"), (0.5,), (0.4, 0.2)),
        Example("short", ("p",), ("a",), (0.8,), (0.6,)),
        Example("without  one", ("p",), (), (-0.5,), ()),
    ]
    statistics = Statistics(MiningOptions(method="dense", negatives=2))
    statistics.examples(rows)
    summary = statistics.summary()
    assert summary["rows"] == {"all": 3, "full": 1, "short": 1, "without_negatives": 1}
    assert summary["negatives"] == 3
    assert summary["negative_scores"]["q50"] == 0.4
    # 0.4 / 0.5 and 0.6 / 0.8; a row with a positive below zero has no such ratio
    assert (summary["hardest_negative_over_lowest_positive"]["q00"], statistics.hardest["q100"]) == (0.75, 0.8)
    assert "    'without one'" in statistics.lines()
    assert statistics.lines()[0].startswith("3 rows, 3 negatives (1.00 a row): 1 with 2, 1 with fewer, 1 without")
