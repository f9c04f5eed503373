"""Workers that sleep, and the small encoder of the benchmark's tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bothways.bench.worker_handle import Worker
from tiny import tiny_llama

SCRIPT = Path(__file__).with_name("slow_worker.py")


@pytest.fixture
def slow() -> Iterator[Callable[..., Worker]]:
    """Start workers that sleep `delay` seconds a text."""
    workers = []

    def start(delay: float, seconds: float = 60.0, **given: Any) -> Worker:
        options = {"loader": "llama.cpp", "threads": 1, "delay": delay, **given}
        workers.append(Worker(sys.executable, options, seconds=seconds, script=SCRIPT))
        return workers[-1]

    yield start
    for worker in workers:
        worker.close()


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("bench") / "base", tokenizer={"vocab_size": 384})
