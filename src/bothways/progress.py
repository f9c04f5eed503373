"""One progress display for every long job.

It is a bar on a terminal and plain lines elsewhere. Short work does not show anything.
"""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any

from bothways.printable import printable

log = logging.getLogger("bothways")

PATIENCE = 2.0  # seconds of work before anything is shown, unless requested
LINE_EVERY = 30.0  # seconds between plain lines without a terminal


class Progress:
    """Counts the finished items of a job.

    Args:
        what: the job, in a word or two.
        total: number of items. None if unknown.
        unit: name of the items.
        show: True always, False never. If None, show it once the job has taken `PATIENCE` seconds.
    """

    def __init__(
        self, what: str, total: int | None, unit: str, *, show: bool | None = None
    ) -> None:
        self.what, self.total, self.unit, self.show = printable(what), total, printable(unit), show
        self.done = 0
        self.note = ""
        self._bar: Any = None
        self._task: Any = None
        self._start = self._last_line = time.monotonic()

    def __enter__(self) -> Progress:
        """Start the clock."""
        self._start = self._last_line = time.monotonic()
        if self.show:
            self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the bar."""
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
            self._last_line = now
            of = f" of {self.total}" if self.total else ""
            log.info("%s: %d%s %s %s", self.what, self.done, of, self.unit, self.note)

    def _open(self) -> None:
        if self._bar is not None or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar

        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(self.unit, markup=False),
        ]
        times = [
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        ]
        self._bar = Bar(*columns, *times, console=Console(stderr=True), transient=True)
        self._bar.start()
        self._task = self._bar.add_task(
            self.what, total=self.total, completed=self.done, note=self.note
        )
