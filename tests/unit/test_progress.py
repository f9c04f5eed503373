"""One progress display: a bar on a terminal, plain lines elsewhere, nothing for short work."""

from __future__ import annotations

import io
import logging
import sys
import time
from types import SimpleNamespace

import pytest

from bothways import progress
from bothways.progress import Progress


class Clock:
    """Stands in for time.monotonic of that module alone: event loops of other threads use it too."""

    def __init__(self, monkeypatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: self.now))


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
    assert lines == [  # a text takes a second
        "encode: 31 of 100 texts loss 0.5, about 69 s left",
        "encode: 62 of 100 texts loss 0.5, about 38 s left",
        "encode: 93 of 100 texts loss 0.5, about 7 s left",
    ]


def test_the_time_left_follows_the_present_speed(clock: Clock, caplog) -> None:
    with caplog.at_level(logging.INFO, "bothways"), Progress("train", 1000, "steps") as bar:
        bar.advance(400)  # a resumed run
        for seconds in (31, 40):
            clock.now += seconds
            bar.advance(10)
    assert "about" in caplog.records[0].message
    assert caplog.records[1].message == "train: 420 of 1000 steps, about 39 min left"  # 580 steps, four seconds each


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


def shown_after(monkeypatch, seconds: float, **given) -> str:
    """What a terminal shows of a job that does not finish an item."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    with Progress("export", given.get("total"), given.get("unit", ""), show=given.get("show")):
        time.sleep(seconds)
        return terminal.getvalue()


def test_a_job_that_finishes_no_item_is_shown_too(monkeypatch) -> None:
    told = shown_after(monkeypatch, 0.5)
    assert "export" in told and "0/?" not in told
    assert "0/?" in shown_after(monkeypatch, 0.5, unit="texts")
    assert shown_after(monkeypatch, 0.0) == "", "short work"
    assert shown_after(monkeypatch, 0.2, show=False) == ""


def test_a_job_inside_another_one_leaves_the_terminal_to_it(monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("evaluate", 2, "tasks", show=True) as outer:
        with Progress("encode", 9, "texts", show=True) as inner:
            inner.advance(9)
        assert outer._bar is not None and inner._bar is None
    with Progress("encode", 9, "texts", show=True) as alone:
        pass
    assert alone._bar is not None
