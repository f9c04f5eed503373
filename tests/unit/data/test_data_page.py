"""docs/data.md keeps its word: its rows are read as it says, its commands have these options, its
keys are those of a stage.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bothways.data import columns
from bothways.data.labeled.dialects import NAMES
from bothways.data.labeled.labeled_reader import read_examples
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.yaml_text import load_yaml
from pages import blocks, commands, page, parsed

TEXT = page("data.md")
ROWS = re.findall(r"^\| ([\w-]+) \| `(\{.*\})` \|$", TEXT, re.MULTILINE)


def test_every_dialect_is_on_the_page() -> None:
    assert {name for name, _ in ROWS} == set(NAMES) - {"beir"}
    assert "| beir | a folder" in TEXT


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_its_rows_are_read_as_it_says(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, row: str) -> None:
    caplog.set_level("INFO", "bothways")
    contradiction = '{"premise": "q", "hypothesis": "n", "label": "contradiction"}' if name == "nli" else ""
    (tmp_path / "a.jsonl").write_text(f"{row}\n{contradiction}\n", encoding="utf-8")
    first = read_examples(tmp_path / "a.jsonl")[0]
    assert f": {name} dialect" in caplog.text
    assert (first.query, first.positives) == ("q", ("A p",) if name == "tevatron" else ("p",))


@pytest.mark.parametrize("line", commands(TEXT))
def test_its_commands_parse(line: str) -> None:
    assert parsed(line)


def test_its_keys_are_those_of_a_stage() -> None:
    (block,) = blocks(TEXT, "yaml")
    stage = load_yaml(block, where="docs/data.md") | {"name": "labelled", "batch": {"size": 8}}
    refresh = stage.pop("refresh")
    made = Recipe.from_values({"name": "page", "base": "b", "stages": [stage]}, where="docs/data.md")
    assert [task.name for task in made.stages[0].data.tasks] == ["fiqa", "sts"]
    del stage["objective"]["distillation"]  # the page says that the two exclude each other
    assert Recipe.from_values({"name": "page", "base": "b", "stages": [stage | {"refresh": refresh}]}, where="docs/data.md")


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("text", columns.TEXT),
        ("label", columns.LABEL),
        ("pair", columns.PAIR),
        ("score", columns.SCORE),
        ("duplicate, 1 or 0", columns.DUPLICATE),
        ("query", columns.QUERY),
        ("positive", columns.POSITIVE),
        ("negative", columns.NEGATIVE),
        ("query and document", columns.ANSWERED),
        ("answers, 1 or 0", columns.ANSWERS),
    ],
)
def test_its_table_of_columns_is_that_of_the_readers(row: str, names: tuple[str | tuple[str, str], ...]) -> None:
    (line,) = re.findall(rf"^\| {re.escape(row)} \| (.*) \|$", TEXT, re.MULTILINE)
    shown = [tuple(re.findall(r"`(\w+)`", part)) for part in line.split(", ")]
    assert shown == [(name,) if isinstance(name, str) else name for name in names]
