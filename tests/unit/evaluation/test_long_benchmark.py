"""benchmarks/long.py: what does not fit has no figures, and on a GPU the clock and the peak begin
when set-up and warm-up are over.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

FILE = Path(__file__).resolve().parents[3] / "benchmarks" / "long.py"


@pytest.fixture(scope="module")
def long() -> ModuleType:
    spec = importlib.util.spec_from_file_location("long_benchmark", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_length_that_does_not_fit_shows_dashes(long, monkeypatch, capsys):
    fits, not_fits = {"seconds": 2.0, "megabytes": 10.0}, {"seconds": math.inf, "megabytes": math.inf}
    cells = iter([fits, {"seconds": 0.5, "megabytes": 5.0}, not_fits, fits, not_fits, not_fits, fits, not_fits])
    monkeypatch.setattr(long, "cell", lambda *_: next(cells))
    monkeypatch.setattr("sys.argv", ["long.py", "--model", "small", "--lengths", "64", "128"])
    long.main()
    table = [line.split(" | ")[3:] for line in capsys.readouterr().out.splitlines()[3:]]
    assert table == [
        ["2.000", "0.500", "0.250", "10", "5 |"],
        ["–", "2.000", "–", "–", "10 |"],
        ["–", "–", "–", "–", "– |"],
        ["2.000", "–", "–", "10", "– |"],
    ]


def test_on_cuda_the_clock_starts_when_the_warm_up_has_ended_and_the_peak_when_set_up_has(long, monkeypatch):
    log: list[str] = []

    def noted(name, value=None):
        return lambda *_: log.append(name) or value

    monkeypatch.setattr(long, "auto_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(long, "step", lambda *_: log.append("set-up") or noted("run"))
    monkeypatch.setattr(long, "time", SimpleNamespace(perf_counter=noted("clock", 0.0)))
    for name, value in (
        ("synchronize", None),
        ("reset_peak_memory_stats", None),
        ("memory_allocated", 0),
        ("max_memory_allocated", 0),
    ):
        monkeypatch.setattr(torch.cuda, name, noted(name, value))
    long.measure("step", "full", 64, "small", "float32", 1)
    assert log == [
        *("set-up", "reset_peak_memory_stats", "memory_allocated", "run", "synchronize"),
        *("clock", "run", "synchronize", "clock", "max_memory_allocated"),
    ]
