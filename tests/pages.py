"""What the pages of docs/ promise: their code blocks, and commands that the command line takes."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any

import pytest
import typer

from bothways.cli.app import app


def page(name: str) -> str:
    """The text of a page of docs/; skips the test module where there is none."""
    path = Path(__file__).resolve().parents[1] / "docs" / name
    if not path.is_file():
        pytest.skip("needs the project's docs folder", allow_module_level=True)
    return path.read_text(encoding="utf-8")


def blocks(text: str, kind: str = "") -> list[str]:
    """Its code blocks of one language; without, its command lines' ones."""
    return [block for found, block in re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL) if found == kind]


def commands(text: str) -> list[str]:
    """Its command lines."""
    return [line for block in blocks(text) for line in block.splitlines()]


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """The verb of a command line and its parameters, as the command line reads them."""
    program, *words = shlex.split(line)
    assert program == "bothways"
    command: Any = typer.main.get_command(app)
    names = []
    while hasattr(command, "commands"):
        name, *words = words
        names.append(name)
        command = command.commands[name]
    # an output is held while its command is parsed, and other processes parse the same pages
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        try:
            return " ".join(names), command.make_context(command.name, words).params
        finally:
            os.chdir(here)
