"""Indexes in Qdrant and PostgreSQL: `make stores`.

The package pgserver brings a PostgreSQL with pgvector, which runs in a folder of its own. Qdrant runs
in its client's local mode. No test may be skipped because a client is missing.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pgserver
import pytest

FILES = ["test_qdrant_store.py", "test_postgres_store.py"]


class Skips:
    """Counts skipped tests, without those that need a client to be missing."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and "missing_client" not in report.nodeid:
            self.found.append(report.nodeid)


def main() -> int:
    unit = Path(__file__).resolve().parents[1] / "unit" / "indexing"
    skips = Skips()
    with tempfile.TemporaryDirectory() as folder:
        server = pgserver.get_server(folder, cleanup_mode="stop")
        address, _, query = server.get_uri().partition("?")
        os.environ["BOTHWAYS_POSTGRES"] = f"{address}/TABLE?{query}"
        code = pytest.main(["-q", "-p", "no:xdist", *(str(unit / name) for name in FILES)], plugins=[skips])
        server.cleanup()
    if skips.found:
        print("skipped: " + ", ".join(skips.found))
    return int(code) or bool(skips.found)


if __name__ == "__main__":
    sys.exit(main())
