"""Shared fixtures: the data folder beside the project, and the real model where it can be had."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from warm import preload

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("BOTHWAYS_MEASURED", "0")  # a test must not use what an earlier one has measured

preload()
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = pytest.mark.skip(reason="the data folder ../shared/data is not beside this checkout")
    for item in items:
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(missing)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A log line with a file name that is not UTF-8 would end the run: xdist sends UTF-8 alone."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def shared() -> Path:
    return SHARED
