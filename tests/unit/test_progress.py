"""One progress display: a bar on a terminal, plain lines elsewhere, nothing for short work."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from bothways import progress
from bothways.progress import Progress


class Clock:
    """Stands in for time.monotonic."""

    def __init__(self, monkeypatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return Clock(monkeypatch)


def test_short_work_says_nothing(clock: Clock, caplog, capsys) -> None:
    with caplog.at_level(logging.INFO, "bothways"), Progress("encode", 3, "texts") as bar:
        for _ in range(3):
            clock.now += 0.1
            bar.advance()
    assert caplog.text == ""
    assert capsys.readouterr() == ("", "")
    assert bar.done == 3


def test_long_work_without_a_terminal_is_a_line_now_and_then(clock: Clock, caplog) -> None:
    with caplog.at_level(logging.INFO, "bothways"), Progress("encode", 100, "texts") as bar:
        for _ in range(100):
            clock.now += 1
            bar.advance(1, note="loss 0.5")
    lines = [record.message for record in caplog.records]
    assert lines[0] == "encode: 31 of 100 texts loss 0.5"
    assert len(lines) == 3
    assert lines[-1].startswith("encode: 93 of 100")


def test_lines_when_asked_for_end_with_the_time(clock: Clock, caplog) -> None:
    with caplog.at_level(logging.INFO, "bothways"), Progress("encode", None, "texts", show=True) as bar:
        clock.now += 1.5
        bar.advance(7)
    assert [record.message for record in caplog.records] == ["encode: 7 texts in 1.5 s"]


def test_never_when_not_wanted(clock: Clock, caplog, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with caplog.at_level(logging.INFO, "bothways"), Progress("encode", 9, "texts", show=False) as bar:
        clock.now += 1000
        bar.advance(9)
    assert caplog.text == ""
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


@pytest.mark.parametrize("total", [40, None])
@pytest.mark.parametrize("show", [True, None])
def test_a_bar_on_a_terminal(clock: Clock, monkeypatch, total: int | None, show: bool | None) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("encode", total, "texts", show=show) as bar:
        for _ in range(40):
            clock.now += 0.2
            bar.advance(note="loss 0.5")
        bar._bar.refresh()
        shown = terminal.getvalue()
    assert "encode" in shown
    assert "texts" in shown
    assert "loss 0.5" in shown
    assert ("40/40" if total else "40/?") in shown


def test_an_error_closes_the_bar(clock: Clock, monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(ValueError, match="inside"), Progress("encode", 5, "texts", show=True) as bar:
        bar.advance()
        raise ValueError("inside")
    assert not bar._bar.live.is_started
