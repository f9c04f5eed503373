"""The part of a model card about training: stages, methods, and data by name and fingerprint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bothways.encoder.module import EncoderModule

METHODS = {
    "mntp": "masked next token prediction (LLM2Vec, arXiv 2404.05961)",
    "contrastive": "contrastive, two dropout views of each text (SimCSE, arXiv 2104.08821)",
    "supervised": "contrastive, on labeled rows",
    "llara": "embeddings that reproduce the text and predict what follows (LLaRA, arXiv 2312.15503)",
    "causal_lm": "next token prediction (LongLoRA, arXiv 2309.12307)",
}
"""Name of each objective in a card."""


def training_section(encoder: EncoderModule) -> str:
    """Write the section "Training". Empty for an encoder that was only converted."""
    stages = stages_of(encoder)
    if not stages:
        return ""
    rows = [
        [stage["name"], *(stage[key] for key in ("method", "adapter", "steps", "tokens", "seed"))]
        for stage in stages
    ]
    data = [[stage["name"], *line] for stage in stages for line in stage["data"]]
    text = f"## Training\n\n{markdown_table(('stage', 'method', 'adapter', 'steps', 'tokens', 'seed'), rows)}"
    if data:
        text += f"\n{markdown_table(('stage', 'data', 'texts', 'sha256 of the texts'), data)}"
    return text + "\nEvery option of each stage is in `bothways.json`.\n"


def stages_of(encoder: EncoderModule) -> list[dict[str, Any]]:
    """Collect each stage's cells of the table. Folders of other programs give only a name."""
    found = []
    for stage in encoder.provenance.get("stages", []):
        told: Mapping[str, Any] = stage if isinstance(stage, Mapping) else {"name": stage}
        objective, adapter, data = (told.get(key) for key in ("objective", "adapter", "data"))
        kind = str(objective.get("kind", "")) if isinstance(objective, Mapping) else ""
        found.append(
            {
                "name": str(told.get("name", "")),
                "method": METHODS.get(kind, kind),
                "adapter": f"LoRA, rank {adapter['r']}"
                if isinstance(adapter, Mapping) and "r" in adapter
                else "",
                **{key: told.get(key, "") for key in ("steps", "tokens", "seed")},
                "data": [
                    _source(each)
                    for each in data or ()
                    if isinstance(each, Mapping) and "source" in each
                ],
            }
        )
    return found


def _source(told: Mapping[str, Any]) -> list[Any]:
    """Describe a source by name, size and fingerprint.

    A file or folder is shown by its last name only, because the rest of the path belongs to the
    machine.
    """
    name = str(told["source"])
    shown = name if told.get("kind") in ("hub", "embedded") else last_name(name)
    size = next((told[key] for key in ("texts", "examples", "documents") if key in told), "")
    return [shown, size, short(told.get("sha256"))]


def last_name(path: str) -> str:
    """Return the last part of a path of any operating system."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or path


def markdown_table(head: tuple[str, ...], rows: list[list[Any]]) -> str:
    """Write a Markdown table. Its cells may hold any name."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell(each) for each in line)} |\n" for line in lines)


def short(digest: object) -> str:
    """Return the first 16 digits of a hash."""
    return f"`{str(digest)[:16]}`" if digest else ""


def cell(value: object) -> str:
    """Convert a value to text that a cell of a Markdown table can hold."""
    return " ".join(str(value).split()).replace("|", "\\|")
