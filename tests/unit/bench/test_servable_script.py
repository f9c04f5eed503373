"""The experiment on what stands before a text, at tiny size."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tiny import SENTENCES, tiny_llama

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"
NAMES = ("servable", "results_page", "seeds", "quality")


@pytest.fixture
def servable() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("servable")
    finally:
        sys.path.remove(str(FOLDER))
        for name in NAMES:
            sys.modules.pop(name, None)


def test_four_forms_are_trained_compared_and_kept(
    servable: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, texts, dev = (
        tiny_llama(tmp_path / "llama", tokenizer={"add_bos": False}),
        tmp_path / "texts.txt",
        tmp_path / "dev.jsonl",
    )
    texts.write_text("".join(f"{place} {text}\n" for place in range(20) for text in SENTENCES))
    pairs = zip(SENTENCES, reversed(SENTENCES), range(len(SENTENCES)))
    dev.write_text("".join(json.dumps({"sentence1": a, "sentence2": b, "score": s % 5}) + "\n" for a, b, s in pairs))
    words = ["--base", str(base), "--texts", str(texts), "--dev", str(dev), "--steps", "3", "--out", str(tmp_path / "out")]
    words += ["--results", str(tmp_path / "pages")]
    servable.main(words)
    page = (tmp_path / "pages" / "servable.md").read_text()
    assert [line.split(" | ")[0] for line in page.splitlines() if " | 0 | " in line] == [
        "| line feed",
        "| servable",
        "| servable, last token",
        "| no prompt",
    ]
    assert "| servable − line feed |" in page
    recipes = {
        row: yaml.safe_load((tmp_path / "out" / "steps-3" / f"{row}-seed0" / "recipe.yaml").read_text())
        for row in ("line-feed", "servable", "servable-last-token", "no-prompt")
    }
    assert {row: bool(made["default_prompt"]) for row, made in recipes.items()} == {
        "line-feed": True,
        "servable": False,
        "servable-last-token": False,
        "no-prompt": False,
    }
    assert [made["pooling"]["mode"] if isinstance(made["pooling"], dict) else made["pooling"] for made in recipes.values()] == [
        "mean",
        "mean",
        "last",
        "mean",
    ]
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.safetensors")}
    servable.main(words)  # nothing is trained again
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.safetensors")} == before
