"""An export is checked in the loader of its target, text by text, alone and in a batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bothways.errors import InputError
from bothways.exports import verify
from bothways.exports.manifest import write_manifest
from bothways.exports.reference import ReferenceRow
from bothways.exports.verify import verify_export, verify_rules


def gguf(folder: Path) -> Path:
    rows = [ReferenceRow("short", "a", [1.0, 0.0]), ReferenceRow("prompt q", "b", [0.0, 2.0], 0.9)]
    write_manifest(folder, "gguf", "f32", rows, file="x.gguf", tokens=7)
    return folder


def test_each_text_alone_and_in_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def encode(file: Path, texts: list[str], *, tokens: int, batch: bool) -> list[list[float]]:
        asked.append((file.name, texts, tokens, batch))
        return [[2.0, 0.0], [0.0, 1.0]] if batch else [[1.0, 0.0], [1.0, 1.0]]

    monkeypatch.setattr(verify.llama_cpp, "encode", encode)
    results = verify_export(gguf(tmp_path))
    assert asked == [("x.gguf", ["a", "b"], 7, False), ("x.gguf", ["a", "b"], 7, True)]
    assert [(each.case, each.ok, round(each.cosine, 6)) for each in results] == [
        ("short, single", True, 1.0),
        ("prompt q, single", False, 0.707107),
        ("short, batch", True, 1.0),
        ("prompt q, batch", True, 1.0),
    ]


def test_what_cannot_be_checked_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an export to gguf runs only in this Python; leave --with out"):
        verify_export(gguf(tmp_path), pythons=["python3"])
    assert verify_rules(tmp_path) == [], "llama.cpp runs here, so it has no rules"
    place = tmp_path / "bothways-export.json"
    manifest = json.loads(place.read_text())
    for broken in ({**manifest, "reference": [{}]}, {**manifest, "tokens": "many"}, {"target": "gguf"}):
        place.write_text(json.dumps(broken))
        with pytest.raises(InputError, match=r"damaged .*; export the model again"):
            verify_export(tmp_path)
