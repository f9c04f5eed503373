"""Trackers are started by name."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from unit.training.material import TEXTS, mntp, recipe


def test_trackers_by_name(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra: track)")
    bw.train(recipe(tmp_path, mntp(), trackers=["tensorboard"]), tmp_path / "out", texts=TEXTS)
    assert list((tmp_path / "out").rglob("events.out.tfevents.*"))
