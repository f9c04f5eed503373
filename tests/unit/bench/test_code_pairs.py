"""Training on pairs of names and comments, as a script."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import bothways as bw
from bothways.search.bm25_ranker import BM25
from tiny import tiny_llama

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture
def code_pairs() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("code_pairs")
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("code_pairs", "results_page", "seeds"):
            sys.modules.pop(name, None)


def test_the_library_has_thousands(code_pairs: ModuleType, tmp_path: Path) -> None:
    code_pairs.write_pairs(tmp_path / "pairs.jsonl")
    assert len((tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()) > 1000


def test_a_row_is_trained_scored_and_kept(code_pairs: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tiny_llama(tmp_path / "llama")
    words = ["--base", str(base), "--steps", "1", "--out", str(tmp_path / "out"), "--results", str(tmp_path / "pages")]
    code_pairs.main(words)
    page = (tmp_path / "pages" / "code-pairs.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[1:]] == ["| BM25", "| pairs of names and comments"]
    bm25 = bw.evaluate(BM25(), "stdlib")["stdlib"]
    assert rows[1][1:3] == [f"{100 * bm25[name]:.1f}" for name in ("ndcg@10", "recall@10")]
    capsys.readouterr()
    before = (tmp_path / "out" / "steps1-seed0" / "model.safetensors").stat().st_mtime_ns
    code_pairs.main(words)  # nothing is trained again
    assert (tmp_path / "out" / "steps1-seed0" / "model.safetensors").stat().st_mtime_ns == before
