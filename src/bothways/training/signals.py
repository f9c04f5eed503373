"""Ctrl-C and a polite kill: finish the step, save, then stop.

It stands apart because a handler may do nothing but take a note; the loop decides when it is safe to stop. A second signal gets
Python's own treatment, so an impatient user is not held.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from bothways.errors import BothwaysError


class Interrupted(BothwaysError):
    """Training stopped on a signal after saving; the message says where and how to continue."""


class StopSignal:
    """Within its block, SIGINT and SIGTERM set `received` (the signal's name) instead of stopping the process.

    Outside the main thread Python allows no handlers; then nothing is caught.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignal:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """Put the old handlers back."""
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            # a handler installed from C reads as None and cannot be put back by Python
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)  # type: ignore[arg-type]
