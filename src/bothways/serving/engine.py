"""Runs the encoders: one thread that packs the texts of all requests into passes.

While a pass runs, new requests wait. The next pass takes them together. So a pass is full when the
server is busy, and a request waits for nothing when it is not.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from bothways.encoder.batch import TokenRow
from bothways.encoder.encoder import Encoder
from bothways.encoder.finite import NotFinite, check_vectors, comparable
from bothways.encoder.inference import Budget, computing, over_passes
from bothways.errors import BothwaysError
from bothways.serving.queue import Job, Queue

log = logging.getLogger("bothways")

# Passes in a row that must fail before the server calls itself broken (a lost GPU fails them all).
_BROKEN = 3
# Seconds: bounds of what a refused client is told to wait.
_SOONEST, _LATEST = 1, 60


class Full(Exception):
    """The queue is full. `retry_after` is the number of seconds after which it should not be."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Stopped(Exception):
    """The engine was stopped before the texts were encoded."""


class Observer(Protocol):
    """Gets the figures of every pass."""

    def passed(self, model: str, rows: int, tokens: int, seconds: float) -> None:
        """Note a pass of `rows` texts and `tokens` tokens, without filler."""


class _Served:
    """An encoder with its waiting texts."""

    def __init__(self, encoder: Encoder, batch_tokens: int | None) -> None:
        self.encoder = encoder.eval()
        self.budget = Budget(encoder, batch_tokens)
        self.queue = Queue(padded=self.budget.padded)


class Engine:
    """Encodes the texts of many requests at once.

    Args:
        encoders: the encoders by name. They are set to evaluation mode.
        batch_tokens: see `ServeSettings`.
        queue_rows: texts that may wait or run.
        queue_tokens: tokens that may wait or run. A single job may exceed it if nothing else waits.
        observer: gets the figures of every pass.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        *,
        batch_tokens: int | None = None,
        queue_rows: int,
        queue_tokens: int,
        observer: Observer | None = None,
    ) -> None:
        self._served = {name: _Served(encoder, batch_tokens) for name, encoder in encoders.items()}
        self._turn = list(self._served)
        self.queue_rows, self.queue_tokens = queue_rows, queue_tokens
        self._observer = observer
        self._ready = threading.Condition()
        self._jobs: dict[Job, str] = {}
        self.rows = self.tokens = 0  # that wait or run
        self._speed = 0.0  # tokens per second, a moving mean
        self._failed = 0  # passes in a row
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="bothways-engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, patience: float = 10.0) -> None:
        """Let the running pass finish, fail what waits with `Stopped`, and end the thread."""
        with self._ready:
            self._stopping = True
            jobs = [job for served in self._served.values() for job in served.queue.drain()]
            self._ready.notify()
        for job in jobs:
            self._fail(job, Stopped("the server is stopping"))
        if self._thread.is_alive():
            self._thread.join(patience)

    @property
    def healthy(self) -> bool:
        """Whether the thread runs and its last passes did not all fail."""
        return self._thread.is_alive() and self._failed < _BROKEN

    def submit(
        self,
        name: str,
        rows: Sequence[TokenRow],
        texts: Sequence[Any],
        alone: Callable[[int], Any] | None = None,
    ) -> Job:
        """Let texts wait for their passes.

        Args:
            name: the encoder's name.
            rows: tokens of each text, at least one text.
            texts: the texts or their beginnings, for messages.
            alone: see `Job`.

        Returns:
            A job whose `future` gets a list with a result for each text: a vector (D,) float32 that
            is not normalized, or what `alone` returned.

        Raises:
            Full: too many texts wait.
            Stopped: the engine is stopping.
        """
        job = Job(rows, texts, alone)
        with self._ready:
            if self._stopping:
                raise Stopped("the server is stopping")
            crowded = (
                self.rows + len(rows) > self.queue_rows
                or self.tokens + job.tokens > self.queue_tokens
            )
            if self._jobs and crowded:
                raise Full(
                    f"{self.rows} texts of {self.tokens} tokens wait already", self.retry_after()
                )
            self._jobs[job] = name
            self.rows += len(rows)
            self.tokens += job.tokens
            self._served[name].queue.add(job)
            self._ready.notify()
        return job

    def retry_after(self) -> int:
        """Seconds until what waits now should be done."""
        seconds = math.ceil(self.tokens / self._speed) if self._speed else _SOONEST
        return min(max(seconds, _SOONEST), _LATEST)

    def release(self, job: Job) -> None:
        """Forget a job whose client is gone. Texts of it that run already are computed in vain."""
        with self._ready:
            name = self._jobs.get(job)
            if name is None:
                return
            self._served[name].queue.remove(job)
            self._forget(job)
        job.future.cancel()

    # --- the thread ------------------------------------------------------------------

    def _work(self) -> None:
        # Not torch.inference_mode, because cached tensors (positions of a plan, rotary tables)
        # could not take part in training later.
        with torch.no_grad():
            while True:
                with self._ready:
                    name, taken = self._next()
                    while not taken and not self._stopping:
                        self._ready.wait()
                        name, taken = self._next()
                if not taken:
                    return
                self._run(name, taken)

    def _next(self) -> tuple[str, list[tuple[Job, int]]]:
        """Choose the texts of the next pass. Models take turns."""
        for name in list(self._turn):
            served = self._served[name]
            if served.queue:
                self._turn.remove(name)
                self._turn.append(name)
                return name, served.queue.take(served.budget.tokens)
        return "", []

    def _run(self, name: str, taken: list[tuple[Job, int]]) -> None:
        begun = time.monotonic()
        try:
            self._encode(self._served[name], taken)
            self._failed = 0
        except Exception as error:
            if len(taken) > 1:  # one text must not fail the others
                for job, index in taken:
                    if job.results[index] is None:
                        self._run(name, [(job, index)])
                return
            if not isinstance(error, BothwaysError):
                self._failed += 1
                log.error("%s: a text could not be encoded", name, exc_info=error)
            self._fail(taken[0][0], error)
        seconds = time.monotonic() - begun
        tokens = sum(len(job.rows[index].ids) for job, index in taken)
        speed = tokens / max(seconds, 1e-6)
        self._speed = 0.8 * self._speed + 0.2 * speed if self._speed else speed
        if self._observer is not None:
            self._observer.passed(name, len(taken), tokens, seconds)

    def _encode(self, served: _Served, taken: list[tuple[Job, int]]) -> None:
        first, index = taken[0]
        if first.alone is not None:
            self._done(first, index, first.alone(index))
            return
        encoder, budget = served.encoder, served.budget
        run = computing(encoder, budget, len(taken))
        for group, vectors in over_passes([job.rows[i] for job, i in taken], budget, None, run):
            for place, vector, good in zip(group, vectors, comparable(vectors)):
                job, i = taken[place]
                if good:
                    self._done(job, i, vector.copy())  # a view would keep the whole pass
                    continue
                try:
                    check_vectors(vector[None], [i], [job.texts[i]], encoder.dtype)
                except NotFinite as error:
                    self._fail(job, error)

    def _done(self, job: Job, index: int, result: object) -> None:
        job.results[index] = result
        job.left -= 1
        if job.left == 0:
            with self._ready:
                self._forget(job)
            if job.future.set_running_or_notify_cancel():
                job.future.set_result(job.results)

    def _fail(self, job: Job, error: Exception) -> None:
        with self._ready:
            for served in self._served.values():
                served.queue.remove(job)
            self._forget(job)
        if not job.future.done() and job.future.set_running_or_notify_cancel():
            job.future.set_exception(error)

    def _forget(self, job: Job) -> None:
        if self._jobs.pop(job, None) is not None:
            self.rows -= len(job.rows)
            self.tokens -= job.tokens
