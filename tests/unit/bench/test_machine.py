"""Facts of the machine."""

from __future__ import annotations

import json
import os

from bothways.bench.machine import busy_processes, cores, machine


def test_facts_are_json_values() -> None:
    found = machine()
    assert json.loads(json.dumps(found)) == found
    assert found["cpu"] and 1 <= found["cores"] == cores() <= (os.cpu_count() or 1)
    assert found["memory_gib"] is None or found["memory_gib"] > 0.1
    assert busy_processes() is None or busy_processes() >= 0  # type: ignore[operator]
