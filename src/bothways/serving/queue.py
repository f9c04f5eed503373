"""The texts that wait for a pass, and the choice of those that run next.

Requests take turns: a pass gets one text of each waiting request, then a second one of each, until
it is full. So a single query waits for one pass at most, however many texts another request brings.

Within a request, the longest texts go first. If the longest one does not fit into the rest of a
pass, the shortest one is tried, so that passes are full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from bothways.encoder.batch import TokenRow
from bothways.encoder.texts.tokenization import Text

# Requests that are asked for a text that fits, when a pass is nearly full. It bounds the search.
_TRIES = 64


class Job:
    """The texts of one request.

    Args:
        rows: their tokens.
        texts: the texts, for messages.
        alone: computes the result of a text by its index, in a pass of its own. If None, texts are
            packed with those of others.
    """

    def __init__(
        self,
        rows: Sequence[TokenRow],
        texts: Sequence[Text],
        alone: Callable[[int], Any] | None = None,
    ) -> None:
        self.rows, self.texts, self.alone = rows, texts, alone
        self.tokens = sum(len(row.ids) for row in rows)
        self.waiting = deque(sorted(range(len(rows)), key=lambda index: len(rows[index].ids)))
        self.results: list[Any] = [None] * len(rows)
        self.left = len(rows)
        self.future: Future[list[Any]] = Future()


class Queue:
    """The waiting jobs of one model. It is not safe between threads: the engine holds a lock."""

    def __init__(self, *, padded: bool) -> None:
        self.padded = padded
        self._jobs: deque[Job] = deque()

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def add(self, job: Job) -> None:
        """Let a job wait."""
        self._jobs.append(job)

    def remove(self, job: Job) -> None:
        """Take a job out, if it still waits."""
        if job in self._jobs:
            self._jobs.remove(job)

    def drain(self) -> list[Job]:
        """Take all jobs out."""
        jobs = list(self._jobs)
        self._jobs.clear()
        return jobs

    def take(self, budget: int) -> list[tuple[Job, int]]:
        """Take the texts of the next pass: at most `budget` tokens, or one longer text.

        Returns:
            Pairs (job, index of the text). A text that runs alone is the only one.
        """
        taken: list[tuple[Job, int]] = []
        skipped: list[Job] = []
        used = longest = 0
        while self._jobs and used < budget and len(skipped) < _TRIES:
            job = self._jobs.popleft()
            if job.alone is not None and not taken:
                taken.append((job, job.waiting.pop()))
                self._put_back(job)
                break
            index = (
                None
                if job.alone is not None
                else self._fitting(job, budget, used, len(taken), longest)
            )
            if index is None:
                skipped.append(job)
                continue
            size = len(job.rows[index].ids)
            longest = max(longest, size)
            taken.append((job, index))
            used = longest * len(taken) if self.padded else used + size
            self._put_back(job)
        self._jobs.extendleft(reversed(skipped))
        return taken

    def _put_back(self, job: Job) -> None:
        if job.waiting:
            self._jobs.append(job)

    def _fitting(self, job: Job, budget: int, used: int, count: int, longest: int) -> int | None:
        """Take the longest text of a job that fits, else its shortest; None if neither does."""

        def fits(index: int) -> bool:
            size = len(job.rows[index].ids)
            return (max(longest, size) * (count + 1) if self.padded else used + size) <= budget

        if count == 0 or fits(job.waiting[-1]):
            return job.waiting.pop()
        return job.waiting.popleft() if fits(job.waiting[0]) else None
