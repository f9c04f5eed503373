"""What CONTRIBUTING.md and CHANGELOG.md promise: files, make targets and verbs that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from tests.pages import parsed

from bothways import __version__
from bothways.cli.app import app

ROOT = Path(__file__).resolve().parents[3]
if not (ROOT / "CONTRIBUTING.md").is_file():
    pytest.skip("needs a checkout", allow_module_level=True)
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CHANGES = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_path_exists() -> None:
    paths = re.findall(r"`((?:src|tests)/[\w./]*)`", TEXT) + re.findall(r"\]\(([\w./]+)\)", TEXT)
    assert len(paths) > 8
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_target_exists() -> None:
    targets = set(re.findall(r"`?make (\w+)", TEXT))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    assert {"check", "test", "fuzz"} <= targets <= known


def test_verbs_exist() -> None:
    assert parsed("bothways families llama")[0] == "families"
    verbs = set(re.findall(r"`bothways ([a-z][a-z-]*)", CHANGES))
    assert {"serve", "export", "push"} <= verbs
    command: Any = typer.main.get_command(app)
    assert verbs <= set(command.commands)


def test_the_changelog_and_the_citation_know_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert f"## {__version__} ({citation['date-released']})" in CHANGES
