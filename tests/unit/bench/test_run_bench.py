"""The whole command on a small model, with sentence-transformers as the only peer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bothways.bench.table import comparison_table
from bothways.cli.app import app
from tiny import SENTENCES


@pytest.fixture(scope="module")
def record(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("run")
    (folder / "mine.txt").write_text("\n".join(SENTENCES))
    options = ["--texts", str(folder / "mine.txt"), "--out", str(folder / "out.json"), "--work", str(folder / "work")]
    options += ["--peers", "sentence-transformers, batch 8;llm2vec, batch 8", "--environments", str(folder)]
    options += ["--scale", "1e-6", "--rounds", "2", "--threads", "1", "--workloads", "queries,short,documents", "--json"]
    done = CliRunner().invoke(app, ["bench", str(base), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads((folder / "out.json").read_text())
    assert json.loads(done.stdout) == found
    assert comparison_table(found).splitlines()[4].startswith("| | type | queries: 10 texts")
    assert all(line in done.stderr.replace("\n", "") for line in ("bothways | float32", "matrix products alone"))
    return found


def test_both_give_the_same_vectors(record: dict) -> None:
    assert list(record["peers"]) == ["bothways", "sentence-transformers, batch 8"]
    for peer in record["peers"].values():
        assert peer["same_vectors"] and peer["cosine_least"] > 0.9999
        assert peer["memory_bytes"] > 2**20 and peer["load_seconds"] > 0 and "torch" in peer["versions"]


def test_figures_of_each_round(record: dict) -> None:
    own, other = (peer["workloads"] for peer in record["peers"].values())
    for name, figures in other.items():
        ratios = [a / b for a, b in zip(figures["seconds"], own[name]["seconds"])]
        assert len(ratios) == 2 and figures["ratio"]["median"] == pytest.approx(sum(ratios) / 2)
    assert own["short"]["ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert ("p99" in own["queries"], "p99" in own["short"]) == (True, False)


def test_the_limit_is_of_the_models_own_shapes(record: dict) -> None:
    # a layer: q and o 32 x 32, k and v 32 x 16, three of the feed-forward 32 x 64
    assert record["operations_per_token"] == 2 * 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
    for name in ("queries", "short", "documents"):
        limit = record["limit"][name]
        assert limit["gflops"]["median"] == pytest.approx(
            record["operations_per_token"] * limit["tokens_per_second"]["median"] / 1e9, rel=1e-6
        )
        assert 0 < limit["share_of_bothways"]["median"] < 2


def test_facts_and_what_is_not_installed(record: dict) -> None:
    assert record["dtype"] == "float32" and record["threads"] == 1 and record["machine"]["cores"] >= 1
    assert "not installed (llm2vec)" in record["absent"]["llm2vec, batch 8"]
    assert "make bench installs it into .venv-bench-llm2vec" in record["absent"]["llm2vec, batch 8"]
    assert record["texts"].endswith("mine.txt")
