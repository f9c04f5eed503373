"""Tests replace the clock of one module, never that of the whole process.

`module.time` is the same object everywhere. An event loop in another thread, such as that of a test
server, that reads a replaced `time.monotonic` once may sleep for days, and its server never ends.
"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
NAME = r"(?:[\w.]+\.)?time"
WHOLE = re.compile(
    rf"""setattr\(\s*(?:["']{NAME}\.\w+["']|{NAME},\s*["'])"""
    r"""|\btime\.(?:monotonic|time|sleep|perf_counter)\s=\s"""
)


def test_no_test_replaces_the_clock_of_the_process() -> None:
    found = [
        f"{path.relative_to(TESTS)}: replace the module's name instead: setattr(module, 'time', SimpleNamespace(...))"
        for path in sorted(TESTS.rglob("*.py"))
        if path != Path(__file__).resolve() and WHOLE.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_each_way_is_seen() -> None:
    for line in (
        'monkeypatch.setattr(progress.time, "monotonic", clock)',
        'monkeypatch.setattr(time, "sleep", clock)',
        'monkeypatch.setattr("time.perf_counter", clock)',
        'monkeypatch.setattr("bothways.cli.demo_size.time.perf_counter", clock)',
        "time.monotonic = clock",
    ):
        assert WHOLE.search(line), line
    for line in ('monkeypatch.setattr(progress, "time", clock)', "now = time.monotonic()", 'setattr("a.b.time", clock)'):
        assert not WHOLE.search(line), line
