"""Encodes shards in this process, or in several that each hold the model.

A process of its own is started afresh (spawn), takes one shard after the other, and writes it. The
texts go through a pipe of its own, so that a process that is killed cannot damage the exchange of
the others. Its shard goes back to the queue, and a new process takes its place.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bothways.bulk.model_request import ModelRequest
from bothways.bulk.settings import ROWS, JobSettings
from bothways.bulk.shard_file import ShardRecord, write_shard
from bothways.bulk.shard_texts import ShardTexts
from bothways.errors import BothwaysError, InputError, OutputError, SourceError

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

log = logging.getLogger("bothways")

TRIES = 3
"""Processes that may end while they encode one shard. Then the shard itself is the likely cause."""
ERRORS: dict[str, type[BothwaysError]] = {
    kind.__name__: kind for kind in (InputError, OutputError, SourceError)
}


class Runner(Protocol):
    """Encodes shards somewhere."""

    def open(self) -> dict[str, Any]:
        """Load the model, and return the facts of `Settings.facts`."""

    def run(
        self, shards: Iterator[ShardTexts], job: str, rows: int = ROWS
    ) -> Iterator[ShardRecord]:
        """Encode and write shards. Yield their records in any order.

        Args:
            shards: the missing ones.
            job: see `write_shard`.
            rows: texts of a shard.
        """

    def close(self) -> None:
        """End all processes."""


class OneProcess:
    """A runner in this process."""

    def __init__(
        self, open_model: Callable[[], Encoder], name: str, settings: JobSettings, folder: Path
    ) -> None:
        """Keep what to encode with.

        Args:
            open_model: returns the encoder.
            name: of the model, for people.
            settings: see `JobSettings`.
            folder: the folder of the job.
        """
        self._open, self.name, self.settings, self.folder = open_model, name, settings, folder
        self._encoder: Encoder | None = None

    def open(self) -> dict[str, Any]:
        """See `Runner`."""
        self._encoder = self._open()
        return self.settings.facts(self._encoder, self.name)

    def run(
        self, shards: Iterator[ShardTexts], job: str, rows: int = ROWS
    ) -> Iterator[ShardRecord]:
        """See `Runner`."""
        assert self._encoder is not None, "open comes first"
        for shard in shards:
            yield write_shard(self._encoder, shard, self.folder, self.settings, job)

    def close(self) -> None:
        """See `Runner`."""
        self._encoder = None


@dataclass
class _Worker:
    """A process, this end of its pipe, and the shard that it is encoding."""

    index: int
    process: Any
    pipe: Connection
    ready: bool = False
    shard: ShardTexts | None = None


@dataclass
class Processes:
    """A runner of several processes.

    Attributes:
        request: the model.
        settings: see `JobSettings`.
        folder: the folder of the job.
        count: number of processes, at least 1.
        main: the main function of a process, with the arguments of `_work`.
    """

    request: ModelRequest
    settings: JobSettings
    folder: Path
    count: int
    main: Callable[..., None] = field(default_factory=lambda: _work)
    _workers: list[_Worker] = field(default_factory=list)
    _facts: dict[str, Any] = field(default_factory=dict)
    _losses: Counter[int] = field(default_factory=Counter)

    def open(self) -> dict[str, Any]:
        """See `Runner`. It returns when the first process has loaded the model."""
        for index in range(self.count):
            self._workers.append(self._start(index))
        while not self._facts:
            self._receive(deque())
        return self._facts

    def run(
        self, shards: Iterator[ShardTexts], job: str, rows: int = ROWS
    ) -> Iterator[ShardRecord]:
        """See `Runner`."""
        again: deque[ShardTexts] = deque()
        left = True
        while True:
            for worker in self._workers:
                if not worker.ready or worker.shard is not None or not (again or left):
                    continue
                shard = again.popleft() if again else next(shards, None)
                if shard is None:
                    left = False
                    continue
                self._send(worker, shard, job)
            if not (left or again or any(worker.shard for worker in self._workers)):
                return
            yield from self._receive(again)

    def close(self) -> None:
        """See `Runner`. A process that is encoding is ended, and its shard is lost."""
        for worker in self._workers:
            worker.pipe.close()
            if worker.shard is not None or not worker.ready:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(5)
            if worker.process.exitcode is None:
                worker.process.kill()
                worker.process.join()
        self._workers = []

    def _start(self, index: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        threads = max(1, cores() // self.count)
        arguments = (there, self.request, self.settings, self.folder, index, threads)
        process = context.Process(target=self.main, args=arguments, name=f"bothways-{index}")
        process.start()
        there.close()
        return _Worker(index, process, here)

    def _send(self, worker: _Worker, shard: ShardTexts, job: str) -> None:
        worker.shard = shard
        with suppress(OSError):  # it has ended, which `_receive` will see
            worker.pipe.send((shard, job))

    def _receive(self, again: deque[ShardTexts]) -> list[ShardRecord]:
        """Wait for any process, and return the records that have come. Replace lost processes."""
        records = []
        pipes: list[Any] = [worker.pipe for worker in self._workers]
        for pipe in wait(pipes):
            worker = next(each for each in self._workers if each.pipe is pipe)
            try:
                kind, value = worker.pipe.recv()
            except (EOFError, OSError):
                self._replace(worker, again)
                continue
            if kind == "error":
                raise ERRORS.get(value[0], BothwaysError)(value[1])
            if kind == "ready":
                self._check(value)
                worker.ready = True
            else:
                worker.shard = None
                records.append(value)
        return records

    def _check(self, facts: dict[str, Any]) -> None:
        if self._facts and facts != self._facts:
            raise InputError(
                f"{self.request.name}: the model changed while the processes loaded it; run again"
            )
        self._facts = facts

    def _replace(self, worker: _Worker, again: deque[ShardTexts]) -> None:
        """Put the shard of a lost process back, and start another process.

        Raises:
            BothwaysError: if it was lost before it was ready, or its shard has ended `TRIES`
                processes.
        """
        worker.process.join()
        ended = _ended(worker.process.exitcode)
        if not worker.ready:
            raise BothwaysError(
                f"process {worker.index} {ended} before it had loaded {self.request.name}; "
                'if memory is short, use fewer processes; in a script, call this below `if __name__ == "__main__":`'
            )
        shard = worker.shard
        if shard is not None:
            self._losses[shard.number] += 1
            if self._losses[shard.number] == TRIES:
                raise BothwaysError(
                    f"{shard.span}: {TRIES} processes ended while they encoded it, the last one {ended}; "
                    "if memory is short, use fewer processes, a smaller --batch-tokens or smaller shards"
                )
            again.append(shard)
        told = "" if shard is None else f"; {shard.span} is encoded by another one"
        log.warning("process %d %s%s", worker.index, ended, told)
        worker.pipe.close()
        self._workers[self._workers.index(worker)] = self._start(worker.index)


def _ended(code: int | None) -> str:
    """Describe how a process ended, for example "was ended by SIGKILL"."""
    if code is not None and code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended with exit code {code}"


def cores() -> int:
    """Return the number of cores that this process may use."""
    affinity: Any = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _work(
    pipe: Connection,
    request: ModelRequest,
    settings: JobSettings,
    folder: Path,
    index: int,
    threads: int,
) -> None:
    """Encode shards until the other end of the pipe is closed: the main function of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process tells us
    end_with_parent()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        import torch

        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(threads)
        encoder = request.open(index)
        pipe.send(("ready", settings.facts(encoder, request.name)))
        log.setLevel(logging.INFO)
        while True:
            shard, job = pipe.recv()
            pipe.send(("done", write_shard(encoder, shard, folder, settings, job)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except BothwaysError as error:
        pipe.send(("error", (type(error).__name__, str(error))))


def end_with_parent() -> None:
    """End this process when its parent is gone, even in the middle of a shard.

    Otherwise it would write on while the next run continues the folder.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
