"""Examples are the items that moved most."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from bothways.evaluation.results import Record, Results
from bothways.report.page import build
from unit.report.material import PAIRS

FEW = 200


def test_examples_are_the_pairs_that_moved_most(tmp_path: Path) -> None:
    gold = np.arange(PAIRS, dtype=np.float64)
    from bothways.evaluation.item_scores import pair_items
    from bothways.evaluation.tasks.sts import spearman

    for i, wrong in enumerate((17, 90)):  # the first model gets pair 17 wrong, the second pair 90
        cosine = np.linspace(0, 1, PAIRS)
        cosine[wrong] = 1.5 if wrong < 60 else -0.5
        items = pair_items(cosine, gold, lambda n: {"first": f"left {n}.", "second": f"right {n}."})
        record = Record("sts", "spearman", {"spearman": spearman(cosine, gold)}, items, "0" * 64, 1.0)
        Results({"sts:x": record}, {"model": {"name": f"m{i}"}}).save(tmp_path / f"{i}.json")
    page = build([tmp_path / "0.json", tmp_path / "1.json"], resamples=FEW)
    examples = page.split('<section id="examples">')[1]
    better, worse = examples.split("<h4>Worse")
    assert re.findall(r"left (\d+)\.", better) == ["17"]
    assert re.findall(r"left (\d+)\.", worse.split("</section>")[0]) == ["90"]
    assert "gold</span> 17, rank 14 %" in better
