"""The README's commands are ones that the command line takes, and its Python names exist."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

import bothways as bw
from pages import blocks, parsed

README = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
LINES = [line.split("  #")[0].strip() for block in blocks(README) for line in block.splitlines()]
COMMANDS = [line for line in [*LINES, *re.findall(r"`(bothways [^`]*)`", README)] if line.startswith("bothways ")]


@pytest.mark.parametrize(
    "command", [line for line in COMMANDS if not re.fullmatch(r"bothways (doctor|--help|--install-completion)", line)]
)
def test_a_command_is_one_that_the_command_line_takes(command: str) -> None:
    verb, values = parsed(command.split(" > ")[0])
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


ROOT = Path(__file__).resolve().parents[3]


def test_the_picture_shows_the_figures_of_the_table() -> None:
    """Both are those of the results file, and the picture is what the report's code draws of it."""
    spec = importlib.util.spec_from_file_location("picture", ROOT / "benchmarks" / "picture.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    results = json.loads(module.RESULTS.read_text(encoding="utf-8"))
    drawn = module.PICTURE.read_text(encoding="utf-8")
    assert drawn == module.picture(results), "run make picture"
    table = re.findall(r"^\| ([^|]+) \| \**([\d.]+)\** \| \**([\d.]+)\** \|", README, re.MULTILINE)
    assert re.findall(r'class="value"[^>]*>([\d.]+)<', drawn) == [ndcg for _, ndcg, _ in table]
    assert [f"{100 * row['recall@10']:.1f}" for row in results["rows"]] == [recall for _, _, recall in table]
    assert all(row["model"] in name for row, (name, _, _) in zip(results["rows"], table))
    assert "![" in README and "(docs/demo.svg)" in README and "make picture" in README


def test_the_readme_is_two_screens() -> None:
    assert len(README.splitlines()) <= 125
