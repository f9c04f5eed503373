"""Checkpoints that would load wrongly are refused, each in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bothways.backbone.loading import checkpoint_loading
from bothways.backbone.loading.sources import load_pretrained
from bothways.errors import InputError, SourceError
from tiny import tiny_llama

IDS = torch.tensor([[5, 17, 250, 99, 3, 42, 7]])


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("sources") / "llama", tie_word_embeddings=False)


def states(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).last_hidden_state


def refuse(kind: type[Exception], name: Any, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        load_pretrained(name, **{"dtype": "float32", **options})
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    return message


def test_incomplete_weights_are_refused(llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama, tmp_path / "holes")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    message = refuse(SourceError, folder)
    assert "lacks 1 weights" in message and "layers.1.mlp.up_proj.weight" in message


def test_truncated_weights_and_broken_config_are_one_line(llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama, tmp_path / "cut")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert str(folder) in refuse(SourceError, folder)
    (folder / "config.json").write_text('{"model_type": "lla')
    assert str(folder) in refuse(SourceError, folder)
    (folder / "config.json").write_text('{"model_type": "never-heard-of"}')
    assert "never-heard-of" in refuse(SourceError, folder)


def test_weights_of_other_shapes_are_one_line(llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama, tmp_path / "shapes")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))
    line = refuse(SourceError, folder)
    assert str(folder) in line
    assert (
        "6 weights have other shapes than config.json says (layers.0.mlp.down_proj.weight (32, 64) instead of (32, 96)" in line
    )


def test_config_overrides_reach_the_model(llama: Path) -> None:
    loaded = load_pretrained(llama, dtype="float32", config_overrides={"attention_dropout": 0.3, "is_causal": False})
    assert {layer.self_attn.attention_dropout for layer in loaded.model.layers} == {0.3}
    assert loaded.model.config.is_causal is False
    assert not torch.equal(states(loaded.model), states(load_pretrained(llama, dtype="float32").model))


@pytest.mark.parametrize("rate", [float("inf"), float("nan"), -0.1, 1, 2.5])
def test_a_rate_of_dropout_that_is_no_probability(llama: Path, tmp_path: Path, rate: float) -> None:
    folder = shutil.copytree(llama, tmp_path / "copy")
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "attention_dropout": rate}))
    assert f"attention_dropout in config.json is {rate!r}; a rate of dropout is at least 0" in refuse(SourceError, folder)
    (folder / "config.json").write_text(json.dumps({**values, "attention_dropout": 0.999}))
    load_pretrained(folder, dtype="float32")


def test_misspelt_override_is_refused(llama: Path) -> None:
    message = refuse(InputError, llama, config_overrides={"atention_dropout": 0.3})
    assert "config_overrides.atention_dropout" in message and "did you mean 'attention_dropout'?" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "nope/nope is not a local folder and is not a valid model identifier listed on the hub\nIf this is private…",
            "no such model",
        ),
        ("You are trying to access a gated repo.\nMake sure to have access to it", "gated"),
        ("We couldn't connect to the hub to load the files\nCheck your internet connection", "cannot be reached"),
        ("something\nelse altogether", "OSError: something else altogether"),
    ],
)
def test_hub_errors_become_one_line(text: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(text)

    monkeypatch.setattr(checkpoint_loading.AutoConfig, "from_pretrained", fail)
    assert expected in refuse(SourceError, "nope/nope")
