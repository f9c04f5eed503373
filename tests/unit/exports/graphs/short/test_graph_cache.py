"""The cache of graphs: what a key depends on, damage, and a place that cannot be written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

import bothways as bw
from bothways.errors import OutputError, UnsupportedFamily
from bothways.exports.graphs.short import bare_graph, graph_cache
from export_models import small_model
from tiny import tiny_llama


@pytest.fixture(autouse=True)
def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names of the graphs that were made."""
    names: list[str] = []

    def write(encoder: bw.Encoder, file: Path, tokens: int, name: str) -> None:
        file.write_text(f"{tokens} tokens")
        file.with_suffix(".bin").write_bytes(b"numbers")
        names.append(name)

    monkeypatch.setenv("BOTHWAYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(graph_cache, "version", lambda name: "1")
    monkeypatch.setattr(bare_graph, "write", write)
    return names


def encoder(folder: Path, options: dict[str, Any] | None = None, **config: Any) -> bw.Encoder:
    return bw.convert(tiny_llama(folder, **config), dtype="float32", device="cpu", **(options or {}))


def test_the_key_is_of_the_shape_and_not_of_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = encoder(tmp_path / "a")
    key = graph_cache.key(first, 64)
    assert key == graph_cache.key(encoder(tmp_path / "b", seed=7), 64) and len(key) == 64
    with torch.no_grad():
        next(first.backbone.parameters()).add_(1)
    assert graph_cache.key(first, 64) == key
    other = [
        graph_cache.key(first, 32),
        graph_cache.key(encoder(tmp_path / "c", intermediate_size=48), 64),
        graph_cache.key(encoder(tmp_path / "d", rms_norm_eps=1e-3), 64),
        graph_cache.key(encoder(tmp_path / "e", {"pooling": "last"}), 64),
        graph_cache.key(encoder(tmp_path / "f", rope_parameters={"rope_type": "default", "rope_theta": 500.0}), 64),
    ]
    monkeypatch.setattr(graph_cache, "version", lambda name: "2")
    other.append(graph_cache.key(first, 64))
    assert len({key, *other}) == 1 + len(other)
    window = [
        bw.convert(small_model(tmp_path / "w", "mistral", sliding_window=4), dtype="float32", device="cpu", windows=way)
        for way in ("keep", "lift")
    ]
    assert graph_cache.key(window[0], 64) != graph_cache.key(window[1], 64)


def test_it_is_made_once_and_again_if_damaged(tmp_path: Path, written: list[str], caplog: pytest.LogCaptureFixture) -> None:
    model = encoder(tmp_path / "a")
    folder = graph_cache.folder_of(model, 64)
    assert graph_cache.stored(folder) is None and caplog.text == ""
    file = graph_cache.ensure(model, 64, "one")
    assert file == graph_cache.stored(folder) == graph_cache.ensure(encoder(tmp_path / "b", seed=1), 64, "two")
    assert written == ["one"]
    file.write_text("63 tokens")
    assert graph_cache.stored(folder) is None and "the stored graph is damaged" in caplog.text
    assert graph_cache.ensure(model, 64, "three") == file and file.read_text() == "64 tokens"
    (folder / "graph.json").write_text("{")
    graph_cache.ensure(model, 64, "four")
    assert written == ["one", "three", "four"]


def test_the_graphs_that_were_used_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_cache, "MOST", 2)
    model = encoder(tmp_path / "a")
    for age, tokens in enumerate((8, 16)):
        folder = graph_cache.ensure(model, tokens, "x").parent
        os.utime(folder, (1000 + age, 1000 + age))
    graph_cache.ensure(model, 8, "x")  # used again
    graph_cache.ensure(model, 32, "x")
    kept = [graph_cache.stored(graph_cache.folder_of(model, tokens)) is not None for tokens in (8, 16, 32)]
    assert kept == [True, False, True]
    assert len(list((tmp_path / "cache" / "graphs").iterdir())) == 4, "two folders and their locks"


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = encoder(tmp_path / "a")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BOTHWAYS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OutputError, match="set BOTHWAYS_CACHE to another folder"):
        graph_cache.ensure(model, 64, "x")


def test_nothing_is_left_of_a_graph_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = encoder(tmp_path / "a")

    def fail(*_: object) -> None:
        raise UnsupportedFamily("no")

    monkeypatch.setattr(bare_graph, "write", fail)
    with pytest.raises(UnsupportedFamily):
        graph_cache.ensure(model, 64, "x")
    assert [path.name for path in (tmp_path / "cache" / "graphs").iterdir() if path.suffix != ".lock"] == []
