"""Uploads of exports: exactly the files that the export wrote, after its own proof, to a stand-in of
the hub.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, constants
from huggingface_hub.utils import _http

import bothways as bw
from bothways.errors import InputError, MissingExtra
from bothways.exports import verify
from bothways.exports.folders import folder_loaders, folder_verify
from bothways.exports.gguf import llama_cpp
from export_models import small_model
from hub_server import TOKEN, Hub, hub_server

NAME = "me/served"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> bw.Encoder:
    base = small_model(tmp_path_factory.mktemp("llama") / "base of someone", "llama")
    return bw.convert(base, dtype="float32", device="cpu", prompts={"query": "Find:\n"})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        _http.close_session()
        yield served
        _http.close_session()


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sentence-transformers run here: a process of its own imports torch again."""

    def run(python: str, folder: Path, loader: str, rows: list[dict], *, trust: bool = False) -> dict[str, Any]:
        found = [folder_loaders.LOADERS[loader](str(folder), rows, size, trust) for size in (1, len(rows))]
        return {"versions": {loader: "here"}, "vectors": found}

    monkeypatch.setattr(folder_verify, "run", run)


def held(hub: Hub) -> dict[str, bytes]:
    return hub.repositories[NAME].branches["main"]


def test_a_folder_for_a_server(encoder: bw.Encoder, hub: Hub, in_process: None, tmp_path: Path) -> None:
    out = bw.export(encoder, tmp_path / "out", to="vllm")
    wrote = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    (out / "notes on a customer.txt").write_text("private")
    (out / "LICENSE").write_text("the license")
    upload = bw.push(out, NAME, private=True, license="MIT", language=["en"])
    files = held(hub)
    assert set(files) == wrote | {"LICENSE"} and upload.left_out == ("notes on a customer.txt",)
    changed = {"README.md", "bothways.json"}
    assert all(files[name] == (out / name).read_bytes() for name in files.keys() - changed)
    for name, raw in files.items():
        assert str(tmp_path).encode() not in raw and b"base of someone" not in raw, name
    card = ModelCard(files["README.md"].decode())
    assert (card.data.license, card.data.language) == ("mit", ["en"]) and "vllm serve" in card.text
    for name, raw in files.items():
        (tmp_path / "down" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "down" / name).write_bytes(raw)
    assert all(each.ok for each in bw.verify_export(tmp_path / "down"))


def test_a_gguf_file(encoder: bw.Encoder, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp is not in the development set, so what it answers is set here."""
    out = bw.export(encoder, tmp_path / "out", to="gguf")
    rows = json.loads((out / "bothways-export.json").read_text())["reference"]
    answer = {row["text"]: row["vector"] for row in rows}
    monkeypatch.setattr(verify.llama_cpp, "encode", lambda file, texts, **options: [answer[text] for text in texts])
    dry = bw.push(out, NAME, dry_run=True)
    assert hub.repositories == {} and {name for name, _ in dry.files} == {path.name for path in out.iterdir()}
    bw.push(out, NAME)
    assert set(held(hub)) == {"out-F32.gguf", "Modelfile", "README.md", "bothways-export.json"} or len(held(hub)) == 4
    # next to an encoder, or to another type, nothing is removed
    held(hub)["model.safetensors"] = b"an encoder"
    upload = bw.push(out, NAME, message="again", license="mit")
    assert upload.removed == () and "model.safetensors" in held(hub)
    monkeypatch.setattr(verify.llama_cpp, "encode", lambda file, texts, **options: [[1.0] * encoder.dimension] * len(texts))
    with pytest.raises(InputError, match=r"has cosine .* in llama\.cpp, below 0\.9999, so it is not uploaded"):
        bw.push(out, "me/other")
    assert "me/other" not in hub.repositories


def test_without_its_loader_it_is_not_uploaded(encoder: bw.Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = bw.export(encoder, tmp_path / "out", to="gguf")
    monkeypatch.setattr(llama_cpp, "installed", lambda: False)
    with pytest.raises(MissingExtra, match="xllamacpp"):
        bw.push(out, NAME, dry_run=True)


def test_what_is_refused(encoder: bw.Encoder, in_process: None, tmp_path: Path) -> None:
    out = bw.export(encoder, tmp_path / "out", to="tei")
    with pytest.raises(InputError, match="the card of an export does not show scores"):
        bw.push(out, NAME, dry_run=True, results=[tmp_path / "results.json"])
    card = (out / "README.md").read_text()
    (out / "README.md").write_text(card.replace("TEI", "tei"))
    with pytest.raises(InputError, match="somebody has changed it"):
        bw.push(out, NAME, dry_run=True, license="mit")
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "use_bidirectional_attention": False}))
    with pytest.raises(InputError, match=r"text-embeddings-inference 1\.9 needs config\.json has .* so it is not uploaded"):
        bw.push(out, NAME, dry_run=True)
    (out / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer\.json: is missing, but bothways-export\.json names it"):
        bw.push(out, NAME, dry_run=True)
    (out / "bothways-export.json").write_text("{}")
    with pytest.raises(InputError, match="does not list its files"):
        bw.push(out, NAME, dry_run=True)
