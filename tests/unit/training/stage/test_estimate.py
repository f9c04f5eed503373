"""The dry run counts, measures and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import bothways as bw
from bothways.backbone.adapter.lora import trainable_counts
from unit.training.material import TEXTS, recipe


def test_dry_run_counts_measures_and_writes_nothing(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    plan = bw.train(made, tmp_path / "out", dry_run=True, texts=TEXTS)
    assert sorted(tmp_path.rglob("*")) == before
    assert [stage.name for stage in plan.stages] == ["mntp", "simcse"]
    first, second = plan.stages
    assert made.stages[0].adapter is not None
    assert first.trainable == trainable_counts(bw.convert(tmp_path / "base").backbone, made.stages[0].adapter).trainable
    assert (first.steps, first.horizon, first.tokens) == (8, 8, 8 * 2 * 2 * 32)
    assert second.examples == second.texts == len(TEXTS)
    assert plan.seconds > 0
    assert first.memory > 1 << 20
    json.dumps(plan.as_dict())
