"""Ctrl-C, a polite kill (SIGTERM) and a closed terminal (SIGHUP) end a command in the same way: cleaned up, with exit code 128 + number.

Python knows Ctrl-C alone: by default the other two end the process on the spot and leave its temporary files. A signal that the
process was started to ignore stays ignored, so that nohup works.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Terminals and launchers send one signal several times; what comes within so many seconds must not disturb the cleaning up.
_ONCE = 5.0


class Stopped(KeyboardInterrupt):
    """A signal has ended the command."""


class Received:
    """The signal that came, if one did."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._when = 0.0

    @property
    def code(self) -> int | None:
        """The exit code that tells of the signal: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP; None without one."""
        return None if self.number is None else 128 + self.number

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: end what the main thread is doing, as Ctrl-C does."""
        again = self.number is not None and time.monotonic() - self._when < _ONCE
        if again and number != signal.SIGINT:
            return
        self.number, self._when = number, time.monotonic()
        raise Stopped


_received = Received()


def exit_code() -> int:
    """The exit code of a command that was stopped."""
    return _received.code or 130


def was_stopped() -> bool:
    """Whether a signal has come, whatever a library made of the exception."""
    return _received.number is not None


@contextmanager
def signals() -> Iterator[Received]:
    """Handle the three signals inside. Outside the main thread Python allows no handlers; then nothing changes."""
    global _received
    _received = Received()
    before: dict[int, object] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, _received.stop)
    try:
        yield _received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
