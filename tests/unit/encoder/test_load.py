"""Loading: which folder is an encoder, and the message for each that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

import bothways as bw
from bothways.encoder.load import is_encoder
from bothways.errors import InputError, SourceError
from tiny import tiny_llama


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True})


@pytest.fixture(scope="module")
def saved(base: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "encoder"
    bw.convert(base, dtype="float32", device="cpu").save(folder)
    return folder


def test_load_says_what_a_folder_is_instead(base: Path, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a base model, not an encoder; use bothways.convert"):
        bw.load(base)
    with pytest.raises(InputError, match=r"a base model, not an encoder; use bothways.convert"):
        bw.load("smollm2-135m")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no encoder here \(neither modules.json nor llm2vec_config.json exists\)"):
        bw.load(tmp_path / "empty")
    with pytest.raises(SourceError, match="no-such-folder/at/all"):
        bw.load("no-such-folder/at/all")
    with pytest.raises(InputError, match="base: only valid for adapters and LLM2Vec folders"):
        bw.load(saved, base=base)
    with pytest.raises(InputError, match=r"not an adapter, because it has no adapter_config.json"):
        bw.load(saved, adapter=base)
    with pytest.raises(InputError, match="dtype"):
        bw.load(saved, dtype="int4")


def test_an_encoder_folder_without_tokenizer(saved: Path, tmp_path: Path) -> None:
    for file in saved.rglob("*"):
        if file.is_file() and "tokenizer" not in file.name:
            (tmp_path / file.relative_to(saved)).parent.mkdir(exist_ok=True)
            (tmp_path / file.relative_to(saved)).write_bytes(file.read_bytes())
    with pytest.raises(SourceError, match="has no tokenizer"):
        bw.load(tmp_path)


def test_is_encoder(base: Path, saved: Path, tmp_path: Path) -> None:
    assert is_encoder(saved)
    assert not is_encoder(base)
    assert not is_encoder("smollm2-135m")
    (tmp_path / "adapter_config.json").write_text("{}")  # a folder that is no base model by itself
    assert is_encoder(tmp_path)
    with pytest.raises(SourceError):
        is_encoder("/no/such/folder")


def test_home_folder_is_understood(saved: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(saved.parent))
    assert is_encoder("~/encoder")
    assert bw.load("~/encoder").dimension == 32
