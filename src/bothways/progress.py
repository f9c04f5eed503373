"""One progress display for every long job.

It is a bar on a terminal and plain lines elsewhere, both with the time left if the total is known.
Short work does not show anything. One bar is shown at a time: a job inside another one leaves the
terminal to the outer job.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from types import TracebackType
from typing import Any, ClassVar

from bothways.printable import printable

log = logging.getLogger("bothways")

PATIENCE = 2.0  # seconds of work before anything is shown, unless requested
LINE_EVERY = 30.0  # seconds between plain lines without a terminal


class Progress:
    """Counts the finished items of a job.

    Args:
        what: the job, in a word or two.
        total: number of items. None if unknown.
        unit: name of the items. If "", they are not counted, for a job that cannot say how far it
            is. Only the elapsed time is shown then.
        show: True always, False never. If None, show it once the job has taken `PATIENCE` seconds,
            also if it has not finished an item by then.
    """

    _shown: ClassVar[Progress | None] = None  # the one that has the terminal
    _lock: ClassVar[threading.RLock] = threading.RLock()

    def __init__(
        self, what: str, total: int | None, unit: str, *, show: bool | None = None
    ) -> None:
        self.what, self.total, self.unit, self.show = printable(what), total, printable(unit), show
        self.done = 0
        self.note = ""
        self._bar: Any = None
        self._task: Any = None
        self._closed = False
        self._timer: threading.Timer | None = None
        self._start = self._last_line = time.monotonic()
        self._line_done = 0

    def __enter__(self) -> Progress:
        """Start the clock."""
        self._start = self._last_line = time.monotonic()
        if self.show:
            self._open()
        elif self.show is None and sys.stderr.isatty():
            self._timer = threading.Timer(PATIENCE, self._open)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the bar."""
        with Progress._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._closed = True
            if Progress._shown is self:
                Progress._shown = None
        if self._bar is not None:
            self._bar.stop()
        elif self.show and kind is None and not sys.stderr.isatty():
            log.info(
                "%s: %d %s in %.1f s",
                self.what,
                self.done,
                self.unit,
                time.monotonic() - self._start,
            )

    def advance(self, count: int = 1, note: str = "") -> None:
        """Report `count` more finished items. The bar shows `note` at its end."""
        self.done += count
        self.note = printable(note) or self.note
        now = time.monotonic()
        if self._bar is None and self.show is None and now - self._start > PATIENCE:
            self._open()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=self.note)
        elif (
            self.show is not False
            and not sys.stderr.isatty()
            and now - self._last_line > LINE_EVERY
        ):
            of = f" of {self.total}" if self.total else ""
            left = self._left(now)
            note = f" {self.note}" if self.note else ""
            log.info("%s: %d%s %s%s%s", self.what, self.done, of, self.unit, note, left)
            self._last_line, self._line_done = now, self.done

    def _left(self, now: float) -> str:
        """Return the time left, at the speed since the last line."""
        speed = (self.done - self._line_done) / (now - self._last_line)
        if not self.total or speed <= 0:
            return ""
        seconds = (self.total - self.done) / speed
        return (
            f", about {seconds:.0f} s left"
            if seconds < 120
            else f", about {seconds / 60:.0f} min left"
        )

    def _open(self) -> None:
        with Progress._lock:
            free = self._bar is None and not self._closed and Progress._shown is None
            if free and sys.stderr.isatty():
                self._show()
                Progress._shown = self

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            ProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar

        columns: list[ProgressColumn] = [
            TextColumn("{task.description}", markup=False),
            BarColumn(),
        ]
        if self.unit:
            columns += [MofNCompleteColumn(), TextColumn(self.unit, markup=False)]
        columns += [TimeElapsedColumn()]
        if self.unit:
            columns += [TimeRemainingColumn()]
        columns += [TextColumn("{task.fields[note]}", markup=False)]
        self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
        self._bar.start()
        self._task = self._bar.add_task(
            self.what, total=self.total, completed=self.done, note=self.note
        )
