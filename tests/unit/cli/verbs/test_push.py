"""`bothways push` and `card`: every option arrives at the function that does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bothways.errors import InputError
from bothways.publishing import cards
from bothways.publishing import push as module
from unit.cli.cli_runner import Run, runner

CARD = ("--license", "mit", "--language", "en", "--language", "ko", "--base-model", "o/b", "--results", "r.json")
FIELDS = {"license": "mit", "language": ["en", "ko"], "base_model": "o/b", "results": [Path("r.json")]}
OPEN = {"license": None, "language": (), "base_model": None, "results": ()}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of `push` or `write_card`, which do nothing."""
    seen: dict[str, Any] = {}

    def instead(*places: Any, **options: Any) -> None:
        seen.update({"places": places, **options})
        raise InputError("seen")

    monkeypatch.setattr(module, "push", instead)
    monkeypatch.setattr(cards, "write_card", instead)
    return seen


def test_push_has_defaults(run: Run, given: dict[str, Any]) -> None:
    done = run("push", "out/encoder", "me/name")
    assert (done.code, done.err.strip()) == (2, "error: seen")
    sent = {"private": False, "dry_run": False, "revision": None, "message": None, "include": (), "device": "auto"}
    assert given == {"places": (Path("out/encoder"), "me/name"), **sent, **OPEN}


def test_options_of_push_arrive(run: Run, given: dict[str, Any]) -> None:
    words = ("--private", "--dry-run", "--revision", "v2", "--message", "m", "--include", "*.png", "--device", "cpu", *CARD)
    run("push", "out/encoder", "me/name", *words)
    sent = {"private": True, "dry_run": True, "revision": "v2", "message": "m", "include": ["*.png"], "device": "cpu"}
    assert given == {"places": (Path("out/encoder"), "me/name"), **sent, **FIELDS}


def test_options_of_card_arrive(run: Run, given: dict[str, Any]) -> None:
    run("card", "out/encoder")
    assert given == {"places": (Path("out/encoder"),), "name": None, "replace": False, **OPEN}
    run("card", "out/encoder", "--name", "me/name", "--replace", *CARD)
    assert given == {"places": (Path("out/encoder"),), "name": "me/name", "replace": True, **FIELDS}
