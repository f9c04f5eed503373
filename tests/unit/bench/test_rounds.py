"""Rounds alternate the peers, drop those that fail, and compare vectors."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from bothways.bench.peers import Peer
from bothways.bench.rounds import Entry, Rounds, cosines
from bothways.bench.worker_handle import Worker, WorkerError
from bothways.bench.workloads import Workload

WORKS = [Workload("queries", ["a", "bb"], True, [1, 2]), Workload("short", ["a", "ccc", "die"], False, [1, 3, 3])]


def entry(name: str, worker: Worker) -> Entry:
    worker.ask("open")
    return Entry(Peer(name, "llama.cpp", "encoder"), worker, "float32")


def test_a_peer_with_twice_the_delay_takes_twice_the_time(slow: Callable[..., Worker]) -> None:
    entries = [entry("bothways", slow(0.03)), entry("peer", slow(0.06))]
    rounds = Rounds(entries, WORKS, lambda line: None)
    rounds.compare()
    rounds.run(3)
    assert rounds.failed == {}
    for work in WORKS:
        own, other = (each.times[work.name] for each in entries)
        assert len(own.rounds) == len(other.rounds) == 3, "the warm-up does not count"
        ratio = other.figures(own, work.tokens, work.each)["ratio"]["median"]
        assert ratio == pytest.approx(2.0, rel=0.35)  # a sleep ends late on a busy machine
    assert entries[1].cosines == pytest.approx([1.0] * 5)
    assert all(each.memory > 0 for each in entries)


def test_a_peer_that_ends_is_named_and_the_others_go_on(slow: Callable[..., Worker]) -> None:
    entries = [entry("bothways", slow(0.0)), entry("peer", slow(0.0, dies=True))]
    rounds = Rounds(entries, WORKS, lambda line: None)
    rounds.compare()
    rounds.run(1)
    assert list(rounds.failed) == ["peer"] and "killed by a bad text" in rounds.failed["peer"]
    assert [each.peer.name for each in rounds.entries] == ["bothways"]


def test_without_our_own_figures_there_is_no_comparison(slow: Callable[..., Worker]) -> None:
    rounds = Rounds([entry("bothways", slow(0.0, dies=True))], WORKS, lambda line: None)
    with pytest.raises(WorkerError, match="bothways: ended"):
        rounds.compare()


def test_each_round_starts_with_another_peer() -> None:
    order = []

    class Noted:
        def __init__(self, name: str) -> None:
            self.name = name

        def ask(self, do: str, **request: object) -> dict[str, object]:
            order.append(self.name)
            return {"seconds": [1.0], "bytes": 1}

    entries = [Entry(Peer(name, "llama.cpp", "encoder"), Noted(name), "float32") for name in "abc"]  # type: ignore[arg-type]
    Rounds(entries, WORKS[:1], lambda line: None).run(3)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab" + "abc"


def test_no_round_begins_that_would_end_too_late(slow: Callable[..., Worker]) -> None:
    """The time of a round is that of the rounds before it."""
    lines: list[str] = []
    entries = [entry("bothways", slow(0.1))]
    rounds = Rounds(entries, WORKS, lines.append)
    rounds.compare()
    assert rounds.run(9, minutes=0.001 / 60) == 1, "one is always counted"
    began = time.monotonic()
    counted = rounds.run(1000, minutes=1.5 / 60)
    assert 1 <= counted < 1000 and time.monotonic() - began < 4
    assert len(entries[0].times["queries"].rounds) == 1 + counted
    assert lines[-1] == f"{counted} rounds; another one would end after 0.025 minutes"


def test_cosines_are_those_of_numpy() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 4, 8))
    expected = [float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)) for x, y in zip(a, b)]
    assert cosines(a, b) == pytest.approx(expected)
    assert cosines(np.zeros((1, 8)), b[:1]) == [0.0]
