"""Which files of a run's folder are published, and which would make it another model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bothways.errors import InputError
from bothways.publishing.contents import INDEX, contents, matching, stale

FILES = (
    "config.json",
    "modules.json",
    "bothways.json",
    "model.safetensors",
    "tokenizer.json",
    "1_Pooling/config.json",
    "README.md",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        fill(tmp_path, name)
    return tmp_path


def fill(folder: Path, name: str, text: str = "{}") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_state_of_training_and_files_of_the_user_stay_here(folder: Path) -> None:
    for name in ("metrics.jsonl", "checkpoints/step-1/model.safetensors", "notes/a.txt", "plot.png", "LICENSE.txt"):
        fill(folder, name)
    found = contents(folder)
    assert found.files == sorted([*FILES, "LICENSE.txt"])
    assert found.left_out == ["checkpoints/", "metrics.jsonl", "notes/", "plot.png"]
    more = contents(folder, ["*.png", "notes/*"])
    assert set(more.files) - set(found.files) == {"plot.png", "notes/a.txt"}


def test_only_the_parts_that_the_index_names(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    fill(
        folder,
        INDEX,
        json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}),
    )
    fill(folder, "model-00001-of-00002.safetensors")
    with pytest.raises(InputError, match=rf"model-00002-of-00002\.safetensors: is missing, but {INDEX} names it"):
        contents(folder)
    fill(folder, "model-00002-of-00002.safetensors")
    fill(folder, "model-00001-of-00003.safetensors")
    found = contents(folder)
    assert "model-00001-of-00003.safetensors" in found.left_out and "model-00001-of-00003.safetensors" not in found.files


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (INDEX, "holds both model.safetensors and an index of parts"),
        ("adapter_config.json", "bothways did not write this file, and transformers would put its adapter on top"),
        ("chat_template.jinja", "bothways did not write this file"),
    ],
)
def test_a_file_that_makes_it_another_model(folder: Path, name: str, message: str) -> None:
    fill(folder, name)
    with pytest.raises(InputError, match=message):
        contents(folder)


@pytest.mark.parametrize("name", ["bothways.json", "modules.json", "config.json"])
def test_an_unfinished_encoder(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"is not a finished encoder of bothways \({name} is missing\)"):
        contents(folder)
    with pytest.raises(InputError, match="is not a folder"):
        contents(folder / "none")


def test_files_of_an_earlier_model_that_loaders_would_read() -> None:
    held = ["config.json", "model-00001-of-00002.safetensors", INDEX, "adapter_config.json", "notes.txt", "2_Dense/config.json"]
    assert stale(held, ["config.json", "model.safetensors"]) == [held[1], INDEX, "adapter_config.json", "2_Dense/config.json"]


def test_a_star_does_not_match_a_slash() -> None:
    assert matching(["a.png", "b/a.png", "LICENSE"], ["*.png"]) == ["a.png"]
    assert matching(["a.png", "b/a.png"], ["*/*.png"]) == ["b/a.png"]
