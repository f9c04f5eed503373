"""The table of a record."""

from __future__ import annotations

from typing import Any

from bothways.bench.table import comparison_table

SPREAD = {"median": 1.5, "low": 1.25, "high": 1.75}


def record(**peers: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": "mine",
        "direction": "bidirectional",
        "dtype": "float32",
        "threads": 2,
        "rounds": 3,
        "machine": {"cpu": "A CPU", "cores": 2, "instructions": ["avx2"]},
        "load_at_start": 0.1,
        "load_at_end": 2.0,
        "versions": {"bothways": "1", "torch": "2", "python": "3"},
        "workloads": {"queries": {"texts": 10, "tokens": 100}},
        "limit": {"queries": {"gflops": SPREAD, "tokens_per_second": SPREAD, "share_of_bothways": SPREAD}},
        "peers": peers,
        "absent": {"OpenVINO int8": "not installed (openvino)"},
    }


def peer(same: bool) -> dict[str, Any]:
    figures = {"ratio": SPREAD, "tokens_per_second": SPREAD, "p50": 12.3, "p99": 45.6}
    return {
        "dtype": "float32",
        "memory_bytes": 2**30,
        "cosine_mean": 0.5,
        "cosine_least": 0.25,
        "same_vectors": same,
        "workloads": {"queries": figures},
    }


def test_a_row_has_ratio_latency_memory_and_cosine() -> None:
    lines = comparison_table(record(bothways=peer(True), other=peer(True))).splitlines()
    row = "float32 | 1.50 (1.25–1.75), 12 and 46 ms | 1,024 MiB | 0.5000 (0.250) |"
    assert f"| other | {row}" in lines and f"| bothways | {row}" in lines
    assert "OpenVINO int8 did not run: not installed (openvino)" in lines
    assert not any("other vectors" in line for line in lines)
    columns = {line.count("|") for line in lines if line.startswith("|")}
    assert columns == {6}, "every row has all columns"


def test_a_peer_with_other_vectors_is_marked() -> None:
    lines = comparison_table(record(bothways=peer(True), causal=peer(False))).splitlines()
    assert any(line.startswith("| causal * |") for line in lines)
    assert any("gives other vectors than bothways" in line for line in lines)
