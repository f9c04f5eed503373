"""A small share of `make fuzz`, and that its judge sees what is bad."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from bothways.cli import app
from bothways.errors import InputError
from fuzz import run as fuzz

SHARE = 120


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    log = logging.getLogger("bothways")
    kept = log.handlers, log.propagate, logging.getLogger().level
    fuzz.silence()
    folder = tmp_path_factory.mktemp("world")
    fuzz.build(folder)
    yield folder
    log.handlers, log.propagate = kept[:2]
    logging.getLogger().setLevel(kept[2])


def test_broken_inputs_are_refused_in_one_line(world: Path) -> None:
    drawn = fuzz.inputs(world, seed=7, count=SHARE)
    assert len({str(given) for given in drawn}) == SHARE
    found = {str(given): fuzz.run(world, given) for given in drawn}
    assert {given: one for given, one in found.items() if one.kind not in ("done", "refused")} == {}
    assert sum(one.kind == "refused" for one in found.values()) > SHARE / 3


def test_there_are_enough_inputs_for_the_whole(world: Path) -> None:
    drawn = fuzz.inputs(world, seed=0, count=2500)
    assert len({str(given) for given in drawn}) == 2500
    assert [str(one) for one in drawn[:50]] == [str(one) for one in fuzz.inputs(world, seed=0, count=50)]


@pytest.mark.parametrize(
    ("does", "kind"),
    [
        (lambda words: 1 / 0, "traceback"),
        (lambda words: _say("a\nb"), "line"),
        (lambda words: _say("a" * 700), "line"),
        (lambda words: _say("\x1b[2J"), "line"),
        (lambda words: _say("a") + Path("left").write_text("") * 0, "left"),
        (lambda words: 3, "exit code"),
        (lambda words: _say("fine"), "refused"),
        (lambda words: 0, "done"),
    ],
)
def test_the_judge_sees_what_is_bad(world: Path, monkeypatch: pytest.MonkeyPatch, does, kind: str) -> None:
    monkeypatch.setattr(app, "_run", does)
    assert fuzz.run(world, fuzz.Input(["encode"], "texts.txt", "nothing", None)).kind == kind


def _say(line: str) -> int:
    import sys

    print(line, file=sys.stderr)
    return 2


def test_an_error_of_the_command_is_one_bounded_line(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise InputError("first\nsecond \x1b[2J " + "x" * 5000)

    monkeypatch.setattr("bothways.data.text.readers.iter_texts", fails)
    given = fuzz.Input(["search", "{model}", "{texts.txt}", "river"], "", "", None)
    assert fuzz.run(world, given).kind == "refused"
