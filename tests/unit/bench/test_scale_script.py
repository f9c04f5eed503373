"""benchmarks/scale.py at small size: every search finds the same documents, and memory is measured."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FILE = Path(__file__).resolve().parents[3] / "benchmarks" / "scale.py"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scale_benchmark", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_section_runs(scale: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def inside(options: Any, folder: Path, *words: object) -> dict[str, Any]:
        return json.loads(json.dumps(scale.one(str(folder), *map(str, words))))

    monkeypatch.setattr(scale, "cell", inside)  # in this process, because each new one takes seconds
    out = tmp_path / "scale.json"
    sizes = [
        "--texts",
        "40",
        "80",
        "--documents",
        "3000",
        "--width",
        "32",
        "--queries",
        "70",
        "--corpus",
        "500",
        "--rows",
        "20",
    ]
    assert scale.main([*sizes, "--rounds", "1", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert record["same_documents"] == dict.fromkeys(scale.SEARCHES, 1.0)
    assert list(record["encode"]) == ["40", "80"] and all(each["memory"] > 1 for each in record["encode"].values())
    assert record["mine"]["bothways"]["negatives"] == 20 * 7


def test_a_streamed_training_is_measured(scale: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "cell", lambda options, folder, *words: scale.one(str(folder), *map(str, words)))
    out = tmp_path / "scale.json"
    words = ["--only", "train", "--megabytes", "1", "--steps", "2", "--documents", "1", "--queries", "1", "--rounds", "1"]
    assert scale.main([*words, "--out", str(out)]) == 0
    found = json.loads(out.read_text())["train"]
    assert list(found) == ["stream 1 2", "stream 1 6", "whole 1 2"] and all(each["memory"] > 1 for each in found.values())


def test_texts_have_their_size(scale: ModuleType, tmp_path: Path) -> None:
    scale.write_texts(tmp_path / "texts", 6)
    sizes = [file.stat().st_size for file in sorted((tmp_path / "texts").iterdir())]
    assert sizes == [pytest.approx(4e6, rel=0.02), pytest.approx(2e6, rel=0.03)]
    lines = (tmp_path / "texts" / "00001.txt").read_text().splitlines()
    assert len(set(lines)) == len(lines)


def test_the_peak_counts_memory_that_is_freed_again(scale: ModuleType) -> None:
    with scale.Peak() as peak:
        held = np.ones(2**24)  # 128 MiB
        del held
    assert peak.most - peak.first > 100 * 2**20


def test_a_mapped_file_is_not_counted(scale: ModuleType, tmp_path: Path) -> None:
    np.save(tmp_path / "large.npy", np.ones(2**24))
    with scale.Peak() as peak:
        assert float(np.load(tmp_path / "large.npy", mmap_mode="r").sum()) == 2**24
    assert peak.most - peak.first < 60 * 2**20
