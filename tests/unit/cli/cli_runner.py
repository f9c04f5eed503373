"""Runs the command line inside the test's process, and gives what a shell would see."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import pytest

from bothways.cli import main


class Outcome(NamedTuple):
    """Exit code and both streams."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("convert", base, "--out", folder)`."""

    def run(*words: object) -> Outcome:
        log = logging.getLogger("bothways")
        level = log.level
        capsys.readouterr()
        try:
            main([str(word) for word in words])
            code = 0
        except SystemExit as stop:
            assert isinstance(stop.code, int)
            code = stop.code
        finally:
            log.setLevel(level)
        return Outcome(code, *capsys.readouterr())

    return run
