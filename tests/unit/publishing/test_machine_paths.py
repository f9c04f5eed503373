"""Paths of a machine are found in what is published, and cut to their last name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bothways.publishing.machine_paths import LOCAL, in_text, in_values, without_places


@pytest.mark.parametrize(
    ("value", "published"),
    [
        ("/home/jane/data/texts.jsonl", "texts.jsonl"),
        ("~/data/texts.jsonl", "texts.jsonl"),
        ("C:\\Users\\Jane\\texts.jsonl", "texts.jsonl"),
        ("file:///srv/texts.jsonl", "texts.jsonl"),
        ("sts:/mnt/x/dev.jsonl?split=dev", "sts:dev.jsonl?split=dev"),
        ("bothways train --texts /home/jane/a.txt --out runs", "bothways train --texts a.txt --out runs"),
        ("org/name", "org/name"),
        ("and/or", "and/or"),
        ("a / b", "a / b"),
        (3, 3),
    ],
)
def test_only_paths_are_cut(value: object, published: object) -> None:
    assert without_places({"stages": [{"dev": value}]}, None)["stages"][0]["dev"] == published
    found = list(in_values({"a": [{"b": value}]}))
    whole = value != published and not str(value).startswith("bothways ")
    assert found == ([("a[0].b", value)] if whole else [])


def test_texts_for_the_model_stay() -> None:
    ours = {"prompts": {"q": "/home/jane/x"}, "wrapper": ["/home/jane/x", ""]}
    assert without_places(ours, None) == ours
    assert list(in_values(ours)) == []


def test_a_base_is_its_name_on_the_hub_or_local() -> None:
    local = {"base": "/models/llama", "source": "folder", "origin": "/models/llama"}
    assert without_places(local, None) == {"base": LOCAL, "source": "folder", "origin": LOCAL}
    assert without_places(local, "org/llama")["base"] == "org/llama"
    assert without_places({"base": "org/llama", "source": "hub"}, None)["base"] == "org/llama"
    assert without_places({"base": "smollm2-135m", "source": "embedded"}, None)["base"] == "smollm2-135m"
    assert without_places({"base_adapter": "./mine"}, None)["base_adapter"] == "a local adapter"


def test_names_of_weight_files_are_neutral_without_an_id() -> None:
    files = {"jane-secret.gguf": "a", "model-00001-of-00002.safetensors": "b"}
    assert without_places({"base_model": {"files": files}}, None)["base_model"]["files"] == {
        "weights": "a",
        "model-00001-of-00002.safetensors": "b",
    }
    two = {"x.gguf": "a", "y.gguf": "b"}
    assert without_places({"base_model": {"files": two}}, None)["base_model"]["files"] == {"weights 1": "a", "weights 2": "b"}
    assert without_places({"base_model": {"files": two}}, "org/x")["base_model"] == {"files": two, "id": "org/x"}


def test_lines_of_a_card_with_a_path(tmp_path: Path) -> None:
    text = f"# Mine\nTrained on `/home/jane/a.jsonl`.\nSee /docs/usage.\nFrom {tmp_path}/x.\n"
    assert [line for line, _ in in_text(text, tmp_path)] == [2, 4]
    assert next(in_text(text)) == (2, "/home/jane/a.jsonl")
