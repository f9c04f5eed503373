"""Opens the peers, runs them in turns, and collects their times.

Every round starts with another peer, so that none always runs on a warm or a throttled processor.
A peer that fails is left out of later rounds, and its reason is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bothways.bench.peers import Peer
from bothways.bench.ratios import Timed
from bothways.bench.worker_handle import Worker, WorkerError
from bothways.bench.workloads import Workload

Say = Callable[[str], None]

COMPARED = 32
"""Texts of each workload whose vectors are compared. Documents are compared four by four."""
_FEW = 4
LIMIT_ROWS = {"queries": 10}
"""Tokens of one product for the limit of a workload; others get `PASS_ROWS`."""
PASS_ROWS = 1024


@dataclass
class Entry:
    """A peer that runs.

    Attributes:
        peer: the peer.
        worker: its process.
        dtype: its type.
        versions: of its packages.
        opening: seconds of loading.
        times: by workload.
        cosines: to the vectors of bothways, one for each compared text.
        memory: peak in bytes.
    """

    peer: Peer
    worker: Worker
    dtype: str
    versions: dict[str, str] = field(default_factory=dict)
    opening: float = 0.0
    times: dict[str, Timed] = field(default_factory=dict)
    cosines: list[float] = field(default_factory=list)
    memory: int = 0


class Rounds:
    """Runs workloads in interleaved rounds.

    Args:
        entries: peers with open workers. The first is bothways.
        works: the workloads.
        say: takes lines about progress.
        limit: a worker that times the matrix products alone, or None to leave the limit out.
    """

    def __init__(
        self,
        entries: list[Entry],
        works: Sequence[Workload],
        say: Say,
        limit: Worker | None = None,
    ) -> None:
        self.entries = entries
        self.works = works
        self.say = say
        self.limit = limit
        self.failed: dict[str, str] = {}
        self.products: dict[str, list[float]] = {}
        """Seconds of the products of one token, by workload and round."""

    def compare(self) -> None:
        """Send the texts, and compare each peer's vectors with those of bothways."""
        for work in self.works:
            count = _FEW if work.name == "documents" else COMPARED
            own: np.ndarray | None = None
            for entry in list(self.entries):
                answer = self._try(entry, "texts", name=work.name, texts=work.texts)
                if answer is None:
                    continue
                answer = self._try(entry, "vectors", name=work.name, count=count)
                if answer is None:
                    continue
                vectors = np.asarray(answer["vectors"], dtype=np.float64)
                own = vectors if own is None else own
                if own.shape != vectors.shape:
                    self._fail(entry, f"gives vectors {vectors.shape}, not {own.shape}")
                    continue
                entry.cosines += cosines(own, vectors)

    def run(self, rounds: int, minutes: float | None = None) -> int:
        """Run every workload `rounds` times, after a warm-up that is not counted.

        Args:
            rounds: rounds that are counted, at least 1.
            minutes: begin no round that would end later than this, but always count one. If None,
                run all.

        Returns:
            The number of rounds that were counted.
        """
        began = time.monotonic()
        self.say("warm-up")
        self._round(-1)
        for number in range(rounds):
            gone = (time.monotonic() - began) / 60
            each = gone / (number + 1)
            if minutes is not None and number and gone + each > minutes:
                rounds = number
                self.say(f"{number} rounds; another one would end after {minutes:g} minutes")
                break
            left = each * (rounds - number)
            self.say(f"round {number + 1} of {rounds}, about {left:.0f} min left")
            self._round(number)
        for entry in list(self.entries):
            answer = self._try(entry, "memory")
            entry.memory = answer["bytes"] if answer is not None else 0
        return rounds

    def _round(self, number: int) -> None:
        for work in self.works:
            self._once(work, number)

    def _once(self, work: Workload, number: int) -> None:
        shift = max(0, number) % len(self.entries)
        for entry in [*self.entries[shift:], *self.entries[:shift]]:
            answer = self._try(entry, "round", name=work.name, each=work.each)
            if answer is not None and number >= 0:
                entry.times.setdefault(work.name, Timed([])).rounds.append(answer["seconds"])
        if self.limit is not None:
            rows = LIMIT_ROWS.get(work.name, PASS_ROWS)
            seconds = self.limit.ask("products", rows=rows)["seconds"] / rows
            if number >= 0:
                self.products.setdefault(work.name, []).append(seconds)

    def _try(self, entry: Entry, do: str, **request: object) -> dict[str, Any] | None:
        try:
            return entry.worker.ask(do, **request)
        except WorkerError as error:
            self._fail(entry, str(error))
            return None

    def _fail(self, entry: Entry, reason: str) -> None:
        if entry is self.entries[0]:
            raise WorkerError(f"{entry.peer.name}: {reason}")
        self.say(f"{entry.peer.name}: {reason}")
        self.failed[entry.peer.name] = reason
        self.entries.remove(entry)
        entry.worker.close()


def cosines(a: np.ndarray, b: np.ndarray) -> list[float]:
    """Return the cosine of each pair of rows, (N, D) and (N, D)."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found = (a * b).sum(axis=1) / np.maximum(norms, 1e-300)
    return [float(value) for value in found]
