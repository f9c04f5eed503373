"""Ctrl-C, a polite kill and a closed terminal: finish the step, save, then stop.

A handler may do nothing but take a note; the loop decides when it is safe to stop. A second Ctrl-C gets Python's own treatment, so an
impatient user is not held. Terminals and launchers send the other signals several times by themselves, so those are noted only.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from bothways.errors import BothwaysError


class Interrupted(BothwaysError):
    """Training stopped on a signal after saving; the message says where and how to continue.

    Attributes:
        code: the exit code that tells of the signal, 128 + its number; 130 if another process has got it.
    """

    def __init__(self, message: str, received: str | None = None) -> None:
        super().__init__(message)
        self.code = 128 + int(signal.Signals[received] if received else signal.SIGINT)


class StopSignal:
    """Within its block, SIGINT, SIGTERM and SIGHUP set `received` (the signal's name) instead of stopping the process.

    A SIGHUP that the process ignores (nohup) stays ignored. Outside the main thread Python allows no handlers; then nothing is caught.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignal:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)  # Windows has no SIGHUP
                if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                    continue
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """Put the old handlers back."""
        for number in list(self._before):
            self._restore(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number).name
        self._restore(signal.SIGINT)

    def _restore(self, number: signal.Signals) -> None:
        if number in self._before:
            handler = self._before.pop(number)
            # a handler installed from C reads as None and cannot be put back by Python
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)  # type: ignore[arg-type]
