"""benchmarks/gpu.py at small size on the CPU: every section gives its figures."""

from __future__ import annotations

import importlib.util
import json
import math
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

FILE = Path(__file__).resolve().parents[3] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_benchmark", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_section_runs(gpu: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    assert gpu.main(["--small", "--device", "cpu", "--seconds", "0.1", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert record["failed"] == {} and set(gpu.SECTIONS) <= set(record)
    for section in ("mntp", "simcse"):
        assert 0 < record[section]["share_of_rate"] < 2 and record[section]["hours_of_the_published_stage"] > 0
    assert {name.partition(",")[0] for name in record["attention"]} == {"bothways", "flex"}
    assert record["encode"]["times_best"] > 0 and all(math.isfinite(v) for v in record["full"].values() if v is not None)


def test_a_failed_section_does_not_cost_the_others(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object) -> dict[str, float]:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(gpu.Bench, "rate", broken)
    out = tmp_path / "gpu.json"
    options = ["--small", "--device", "cpu", "--seconds", "0", "--only", "rate", "full", "--out", str(out)]
    assert gpu.main(options) == 1
    record = json.loads(out.read_text())
    assert record["failed"] == {"rate": "RuntimeError: out of memory"} and record["full"]["tokens_per_second"] > 0


def test_each_figure_is_tried_by_itself_and_written_at_once(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gpu.json"
    seen: list[int] = []

    def flex(self: object, q: torch.Tensor, *_: object) -> Any:
        seen.append(len(json.loads(out.read_text()).get("attention", {})))
        if len(seen) == 1:
            raise RuntimeError("no kernel | here\nline 2")
        return lambda: q

    monkeypatch.setattr(gpu.Bench, "flex", flex)
    options = ["--small", "--device", "cpu", "--seconds", "0", "--only", "attention", "--out", str(out)]
    assert gpu.main(options) == 1
    record = json.loads(out.read_text())
    assert set(record["attention"]) == {"bothways, 32", "bothways, 64", "flex, 64"} and seen == [2, 2]
    assert record["failed"] == {"attention: flex, 32": "RuntimeError: no kernel | here line 2"}
    shown = capsys.readouterr().out
    assert "| attention | flex, 32 | RuntimeError: no kernel / here line 2 |" in shown and "| attention | flex, 64 | " in shown


def test_a_section_ends_with_its_time(gpu: ModuleType, tmp_path: Path) -> None:
    class Slow(gpu.Record):  # type: ignore[name-defined]
        def slow(self) -> None:
            self.part("slow", "first", lambda: {"first": 1})
            self.part("slow", "second", lambda: time.sleep(600))
            self.part("slow", "third", lambda: {"third": 3})

    bench = Slow({}, tmp_path / "out.json")
    start = time.monotonic()
    bench.run("slow", 2.0)
    bench.run("none", -1)
    assert time.monotonic() - start < 300
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["slow"] == {"first": 1}
    reasons = record["failed"]
    assert reasons["slow: second"].startswith("OutOfTime: was stopped") and "no time was left" in reasons["slow: third"]
    assert "no time was left" in reasons["none"] and set(reasons) == {"slow: second", "slow: third", "none"}


def test_half_as_many_rows_if_memory_is_too_small(gpu: ModuleType) -> None:
    tried: list[int] = []

    def call(rows: int) -> dict[str, Any]:
        tried.append(rows)
        if rows > 2:
            raise torch.OutOfMemoryError("no")
        return {"x": 1}

    assert gpu.Record({}).halving(8, call) == {"x": 1, "rows": 2} and tried == [8, 4, 2]

    def never(rows: int) -> dict[str, Any]:
        raise torch.OutOfMemoryError("no")

    with pytest.raises(MemoryError):
        gpu.Record({}).halving(4, never)


def test_the_budgets_are_under_eight_minutes(gpu: ModuleType) -> None:
    assert set(gpu.BUDGETS) == set(gpu.SECTIONS) and sum(gpu.BUDGETS.values()) <= 450


def test_flex_sees_the_same_tokens_as_the_plan(gpu: ModuleType) -> None:
    bench = gpu.Bench("cpu", True, 0.0)
    plan = gpu.AttentionPlan((40, 24))
    q, k, v = (torch.randn(64, heads, 64) for heads in (9, 3, 3))
    torch.testing.assert_close(bench.flex(q, k, v, plan)(), gpu.kernel.execute(q, k, v, plan), rtol=1e-4, atol=1e-5)


def test_operations_of_a_lora_step(gpu: ModuleType) -> None:
    """Twice the forward pass of the frozen matrices, and the head at a fifth of the positions."""
    bench = gpu.Bench("cpu", True, 0.0)
    plan = gpu.AttentionPlan((32, 32))
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128
    scores = 3 * 4 * (2 * 32**2) * 64 * 2 / 64
    _, simcse = bench.lora_step("small", plan, dropout=0.3)
    assert simcse == pytest.approx(2 * 2 * 2 * layer + scores)
    _, mntp = bench.lora_step("small", plan, dropout=0.0)
    assert mntp - simcse == pytest.approx(2 * 2 * 64 * 512 * 0.2)


def test_without_a_gpu_it_says_so(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA device; --small --device cpu"):
        gpu.main([])
