"""Workers answer line by line, stand still between their turns, and fail in one line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bothways.bench.worker_handle import Worker, WorkerError


def test_answers_and_the_librarys_own_lines_are_kept_apart(slow: Callable[..., Worker]) -> None:
    worker = slow(0.0)
    assert worker.ask("open")["versions"].keys() == {"python", "numpy"}
    worker.ask("texts", name="a", texts=["x", "yyy"])
    assert worker.ask("vectors", name="a", count=9)["vectors"] == [[1.0, 1.0], [1.0, 3.0]]
    assert worker.ask("memory")["bytes"] > 2**20


def test_each_text_is_timed(slow: Callable[..., Worker]) -> None:
    worker = slow(0.02)
    worker.ask("open")
    worker.ask("texts", name="a", texts=["x"] * 3)
    each = worker.ask("round", name="a", each=True)["seconds"]
    together = worker.ask("round", name="a", each=False)["seconds"]
    assert len(each) == 3 and all(seconds >= 0.02 for seconds in each)
    assert len(together) == 1 and together[0] >= 0.06


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_waiting_worker_stands_still(slow: Callable[..., Worker]) -> None:
    worker = slow(0.0)
    worker.ask("open")
    status = Path(f"/proc/{worker._process.pid}/stat")
    until = time.monotonic() + 10
    while (state := status.read_text().rsplit(")", 1)[1].split()[0]) != "T" and time.monotonic() < until:
        time.sleep(0.01)
    assert state == "T"


def test_failures_are_one_line(slow: Callable[..., Worker]) -> None:
    worker = slow(0.0, dies=True)
    worker.ask("open")
    with pytest.raises(WorkerError, match=r"^KeyError: 'a'$"):
        worker.ask("round", name="a", each=False)
    worker.ask("texts", name="a", texts=["die"])
    with pytest.raises(WorkerError, match="ended with 1: killed by a bad text"):
        worker.ask("round", name="a", each=False)
    with pytest.raises(WorkerError, match="ended with 1"):
        worker.ask("memory")


def test_a_worker_without_an_answer_is_given_up(slow: Callable[..., Worker]) -> None:
    worker = slow(60.0)
    worker.ask("open")
    worker.ask("texts", name="a", texts=["x"])
    worker.seconds = 1.0
    with pytest.raises(WorkerError, match="no answer within 1 s"):
        worker.ask("round", name="a", each=False)
