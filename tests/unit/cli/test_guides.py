"""The pages of the site: commands that the command line takes, code that compiles, real
messages.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.pages import blocks, commands, parsed

from bothways.encoder.convert import convert
from tiny import tiny_llama

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
if not (ROOT / "mkdocs.yml").is_file():
    pytest.skip("needs a checkout", allow_module_level=True)
PAGES = [DOCS / name for name in ("index.md", "install.md", "quickstart.md")] + sorted(DOCS.glob("guides/*.md"))


def lines() -> list[str]:
    """The bothways commands of all pages, also those behind a launcher."""
    every = [line for page in PAGES for line in commands(page.read_text(encoding="utf-8"))]
    every = [re.sub(r"^(?:accelerate launch|torchrun) .*--no[_-]python ", "", line) for line in every]
    return sorted({line.removeprefix("$ ") for line in every if re.match(r"(?:\$ )?bothways [a-z]", line)})


@pytest.mark.parametrize("line", lines())
def test_the_command_line_takes_it(line: str) -> None:
    parsed(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_compiles(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8"), "python"):
        ast.parse(block)


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r":\s([\w/-]+\.md)$", text, re.MULTILINE))
    made = {"reference/python.md", "reference/cli.md", "reference/recipe.md"}
    copies = {"findings.md", "contributing.md", "changelog.md"}
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert named == there | made | copies
    assert yaml.safe_load(text)["site_name"] == "bothways"


def test_the_python_of_the_quickstart_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a tiny encoder at the place that the page names; the second block is sentence-transformers alone."""
    text = (DOCS / "quickstart.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (sample,) = (block for block in blocks(text, "text") if block.startswith("Parcels"))
    (tmp_path / "answers.txt").write_text(sample, encoding="utf-8")
    assert (ROOT / "examples" / "data" / "answers.txt").read_text(encoding="utf-8") == sample
    convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu").save("runs/mine")
    ours, theirs = blocks(text, "python")
    exec(compile(ours, "quickstart.md", "exec"), {})
    assert len(capsys.readouterr().out.strip("[]\n").split()) == 3
    space: dict[str, Any] = {}
    exec(compile(theirs, "quickstart.md", "exec"), space)
    assert space["vectors"].shape == (2, 32)
