"""Signals while training: noted for the loop, handed back afterwards, and a second Ctrl-C is
Python's again.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from bothways.training.loop.signals import Interrupted, StopSignal

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    """The handlers of pytest, whatever a test leaves."""
    before = {number: signal.getsignal(number) for number in ALL}
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # under nohup SIGHUP is ignored
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ALL)
def test_a_signal_is_noted_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in ALL}
    with StopSignal() as signals:
        assert signals.received is None
        os.kill(os.getpid(), number)
        assert signals.received == number.name
        if number != signal.SIGINT:
            os.kill(os.getpid(), number)  # launchers send it again by themselves
            assert signals.received == number.name
    assert {each: signal.getsignal(each) for each in ALL} == before


def test_a_second_ctrl_c_is_pythons_own() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), StopSignal() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == "SIGINT"
        os.kill(os.getpid(), signal.SIGINT)


def test_the_first_signal_is_the_reason() -> None:
    with StopSignal() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.received == "SIGTERM"


def test_a_run_under_nohup_goes_on() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignal() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.received is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_in_another_thread_nothing_is_caught() -> None:
    seen = []

    def run() -> None:
        with StopSignal():
            seen.append([signal.getsignal(number) for number in ALL])

    before = [signal.getsignal(number) for number in ALL]
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize(("received", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129), (None, 130)])
def test_the_exit_code_tells_of_the_signal(received: str | None, code: int) -> None:
    assert Interrupted("stopped", received).code == code
