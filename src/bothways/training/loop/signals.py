"""Handles Ctrl-C, a polite kill and a closed terminal: finish the step, save, then stop.

A handler only takes a note. The loop decides when it is safe to stop. A second Ctrl-C gets Python's
own treatment, so an impatient user does not have to wait. Terminals and launchers send the other
signals several times by themselves, so repeats of those are only noted.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from bothways.errors import BothwaysError


class Interrupted(BothwaysError):
    """Training stopped on a signal after saving. The message says how to continue.

    Attributes:
        code: exit code for the signal, 128 + its number. If another process has received it, 130.
    """

    def __init__(self, message: str, received: str | None = None) -> None:
        super().__init__(message)
        self.code = 128 + int(signal.Signals[received] if received else signal.SIGINT)


class StopSignal:
    """A block in which SIGINT, SIGTERM and SIGHUP do not stop the process.

    They set `received` to the signal's name. If the process ignores SIGHUP (nohup), it goes on
    ignoring it. Outside the main thread Python allows no handlers, so nothing is caught there.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignal:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)  # Windows has no SIGHUP
                if number is None or (
                    name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN
                ):
                    continue
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Restore the old handlers."""
        for number in list(self._before):
            self._restore(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number).name
        self._restore(signal.SIGINT)

    def _restore(self, number: signal.Signals) -> None:
        if number in self._before:
            handler = self._before.pop(number)
            # A handler that was installed from C reads as None, and Python cannot restore it.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)  # type: ignore[arg-type]
