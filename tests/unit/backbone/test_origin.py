"""A name is followed to the base model: through encoders, adapters, checkpoints and the hub's cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bothways.backbone.origin import Origin, hub_id, origin

MISTRAL = "mistralai/Mistral-7B-Instruct-v0.2"


def folder(place: Path, **files: dict[str, object] | str) -> Path:
    """Write JSON files, for example `folder(place, config={"model_type": "llama"})`."""
    place.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (place / f"{name}.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return place


@pytest.mark.parametrize(
    "files",
    [
        {"bothways": {"base": MISTRAL}},
        {"bothways": {"origin": MISTRAL, "base": "out/longer"}},
        {"adapter_config": {"base_model_name_or_path": MISTRAL}},
        {"config": {"_name_or_path": MISTRAL}},
        {"bothways": {"base": MISTRAL}, "config": {"_name_or_path": "other/model"}},
        {"bothways": "{not json", "config": {"_name_or_path": MISTRAL}},
    ],
)
def test_a_folder_leads_to_the_base_that_its_files_name(tmp_path: Path, files: dict[str, object]) -> None:
    found = origin(folder(tmp_path / "run", **files))
    assert (found.name, found.stated, found.short) == (MISTRAL, True, "mistral-7b-instruct-v0.2")


def test_a_chain_of_folders_keeps_the_first_family(tmp_path: Path) -> None:
    first = folder(tmp_path / "first", bothways={"base": MISTRAL}, config={"model_type": "mistral"})
    second = folder(tmp_path / "second", bothways={"base": str(first)}, config={"model_type": "mistral3"})
    adapter = folder(tmp_path / "adapter", adapter_config={"base_model_name_or_path": str(second)})
    assert origin(adapter) == Origin(MISTRAL, "mistral3", True)


def test_a_folder_that_names_no_base_is_its_own_origin(tmp_path: Path) -> None:
    assert origin(folder(tmp_path / "Base", config={"model_type": "llama"})) == Origin("Base", "llama", False)
    assert origin(folder(tmp_path / "self", bothways={"base": str(tmp_path / "self")})) == Origin("self", None, False)
    assert origin(tmp_path / "weights.gguf") == Origin(str(tmp_path / "weights.gguf"), None, False)


def test_a_snapshot_of_the_hubs_cache_is_named_by_its_id(tmp_path: Path) -> None:
    place = tmp_path / "models--mistralai--Mistral-7B-Instruct-v0.2" / "snapshots" / "abc"
    folder(place, config={"model_type": "mistral"})
    assert origin(place) == Origin(MISTRAL, "mistral", True)


def test_folders_that_name_each_other_end(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    folder(one, bothways={"base": str(other)})
    folder(other, bothways={"base": str(one)})
    assert origin(one).stated is False


@pytest.mark.parametrize(
    ("name", "found"),
    [(MISTRAL, MISTRAL), ("gpt2", None), ("a/b/c", None), ("./a", None), ("runs/model.gguf", None), ("-a/b", None), ("", None)],
)
def test_the_form_of_a_hub_id(name: str, found: str | None) -> None:
    assert hub_id(name) == found
