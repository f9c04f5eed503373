"""A metrics file that a killed run has left can be read."""

from __future__ import annotations

import json
from pathlib import Path

from bothways.training.loop.metrics import read_metrics
from unit.training.loop.test_checkpoints import NOISE


def test_metrics_pass_over_what_is_not_a_line(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    whole = {"number": 0, "step": 1, "loss": 2.0}
    file.write_bytes(b"\n".join([json.dumps(whole).encode(), *NOISE, b'{"number": "x", "step": 1}', b"3"]))
    assert read_metrics(file) == [whole]
