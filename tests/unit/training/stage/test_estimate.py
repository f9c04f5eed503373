"""The dry run counts, measures and writes nothing."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import bothways as bw
from bothways.backbone.adapter.lora import trainable_counts
from bothways.training.stage import estimate
from unit.training.material import TEXTS, recipe


def test_dry_run_counts_measures_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which every timed micro-batch takes two seconds."""
    monkeypatch.setattr(estimate, "time", SimpleNamespace(perf_counter=itertools.count(step=2.0).__next__))
    made = recipe(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    plan = bw.train(made, tmp_path / "out", dry_run=True, texts=TEXTS)
    assert sorted(tmp_path.rglob("*")) == before
    assert [stage.name for stage in plan.stages] == ["mntp", "simcse"]
    first, second = plan.stages
    assert made.stages[0].adapter is not None
    counted = trainable_counts(bw.convert(tmp_path / "base").backbone, made.stages[0].adapter)
    assert (first.trainable, first.parameters) == counted
    assert (first.steps, first.horizon, first.tokens) == (8, 8, 8 * 2 * 2 * 32)
    assert second.examples == second.texts == len(TEXTS)
    # steps x accumulation x seconds
    assert (first.seconds, second.seconds, plan.seconds) == (8 * 2 * 2.0, 6 * 2.0, 44.0)
    assert first.memory > 1 << 20
    status = Path("/proc/self/status")
    if status.exists():
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())
        assert first.memory == pytest.approx(int(peak) * 1024, rel=0.4)
    json.dumps(plan.as_dict())
