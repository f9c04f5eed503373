"""The README's commands are ones that the command line takes, and its Python names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bothways as bw
from pages import blocks, parsed

README = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
LINES = [line.split("  #")[0].strip() for block in blocks(README) for line in block.splitlines()]
COMMANDS = [line for line in [*LINES, *re.findall(r"`(bothways [^`]*)`", README)] if line.startswith("bothways ")]


@pytest.mark.parametrize("command", [line for line in COMMANDS if not re.fullmatch(r"bothways (doctor|--help)", line)])
def test_a_command_is_one_that_the_command_line_takes(command: str) -> None:
    verb, values = parsed(command)
    assert command.split()[1] == verb.split()[0] and values


def test_the_public_names_exist() -> None:
    (code,) = blocks(README, "python")
    names = set(re.findall(r"\bbw\.(\w+)", code))
    assert names == {"convert", "doctor"} and names <= set(bw.__all__)


def test_links_lead_to_files() -> None:
    found = re.findall(r"\]\(([^)#]+)", README)
    assert len(found) > 5
    for link in found:
        assert (Path(__file__).resolve().parents[3] / link).exists(), link
