"""Help texts are wrapped by the terminal, not by the source."""

from __future__ import annotations

import inspect

import pytest
from typer.testing import CliRunner

from bothways.cli import app
from bothways.cli.paragraphs import unwrapped
from bothways.cli.verbs import prepare


def test_prose_is_joined_and_examples_stay() -> None:
    text = "Encode.\n\nOne\ntwo\nthree.\n\n  bothways encode\n    mine notes/"
    assert unwrapped(text) == "Encode.\n\nOne two three.\n\n  bothways encode\n    mine notes/"


COMMANDS = [*app.app.registered_commands, *prepare.group.registered_commands]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name or command.callback.__name__)
def test_a_wide_terminal_shows_a_paragraph_in_one_line(command, monkeypatch) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 2000)
    group = command in prepare.group.registered_commands
    words = [*(["prepare"] if group else []), command.name or command.callback.__name__.replace("_", "-"), "--help"]
    shown = CliRunner().invoke(app.app, words)
    assert shown.exit_code == 0
    for part in inspect.cleandoc(command.callback.__doc__).split("\n\n"):
        if not any(line.startswith(" ") for line in part.splitlines()):
            assert " ".join(part.split()) in shown.output
