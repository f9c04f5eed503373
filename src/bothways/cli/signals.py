"""Ends a command in the same way on Ctrl-C, SIGTERM and SIGHUP.

The command cleans up, and its exit code is 128 plus the number of the signal. Python handles only
Ctrl-C. By default SIGTERM (a polite kill) and SIGHUP (a closed terminal) end the process at once
and leave its temporary files. A signal that the process was started to ignore stays ignored, so
that nohup works.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ONCE = 5.0
"""Seconds within which a repeated signal is ignored.

Terminals and launchers send one signal several times, which must not interrupt the cleaning up.
"""


_AGAIN = 0.05
"""Seconds until a signal is sent again whose exception got lost."""


class CommandStopped(KeyboardInterrupt):
    """Raised in the main thread when a signal ends the command."""


class Received:
    """The signal that was received, if any."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._when = 0.0
        self._lost = False
        self._timer: threading.Timer | None = None

    @property
    def code(self) -> int | None:
        """Exit code of the signal. It is 130 for SIGINT, 143 for SIGTERM and 129 for SIGHUP.

        None if there was no signal.
        """
        return None if self.number is None else 128 + self.number

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal by ending the work of the main thread, as Ctrl-C does."""
        again = self.number is not None and time.monotonic() - self._when < _ONCE
        if again and number != signal.SIGINT and not self._lost:
            return
        self.number, self._when, self._lost = number, time.monotonic(), False
        if _importing_torch():
            self.repeat()
            return
        raise CommandStopped

    def repeat(self) -> None:
        """Send the signal again, a moment later, because its exception was lost.

        Python ignores what is raised inside `__del__` and in other callbacks that nobody waits
        for. The command would go on as if there had been no signal.
        """
        self._lost = True
        self.end()
        self._timer = threading.Timer(_AGAIN, _send, [self.number])
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        """Send nothing any more: whoever has the next handler did not get this signal."""
        if self._timer is not None:
            self._timer.cancel()


def _importing_torch() -> bool:
    """Return whether torch is being imported.

    Its C++ code calls Python meanwhile. An exception that it does not expect aborts the process,
    which then cannot clean up.
    """
    spec = getattr(sys.modules.get("torch"), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


def _send(number: int) -> None:
    if hasattr(signal, "pthread_kill"):  # it also ends a wait of the main thread
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:  # Windows
        signal.raise_signal(number)


_received = Received()


def exit_code() -> int:
    """Return the exit code of a command that was stopped."""
    return _received.code or 130


def was_stopped() -> bool:
    """Return whether a signal was received, even if a library has replaced the exception."""
    return _received.number is not None


@contextmanager
def signals() -> Iterator[Received]:
    """Handle the three signals inside the block.

    Outside the main thread Python does not allow handlers, so there this changes nothing.
    """
    global _received
    _received = Received()
    before: dict[int, object] = {}
    hook = sys.unraisablehook

    def ignored(lost: sys.UnraisableHookArgs) -> None:
        if isinstance(lost.exc_value, CommandStopped):
            _received.repeat()
        else:
            hook(lost)

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) in (
                signal.SIG_DFL,
                signal.default_int_handler,
            ):
                before[number] = signal.signal(number, _received.stop)
    if before:
        sys.unraisablehook = ignored
    try:
        yield _received
    finally:
        _received.end()
        _received = Received()  # a later command in this process was not stopped
        if before:
            sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
