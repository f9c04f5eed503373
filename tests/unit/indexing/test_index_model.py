"""A fingerprint is the model's: the same in both precisions and at any path, another after a change."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import torch

import bothways as bw
from bothways.indexing.index_model import identity, model_name, open_model


def test_precision_and_path_do_not_count(saved: Path, encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "copy")
    expected = identity(encoder)
    assert identity(bw.load(saved, dtype="bfloat16")) == expected
    assert identity(bw.load(tmp_path / "copy", dtype="float32")) == expected
    assert identity(open_model(saved, device="cpu", dtype="auto")) == expected


def test_weights_prompts_pooling_and_lengths_count(saved: Path, encoder) -> None:
    found = {identity(encoder)}
    weights = bw.load(saved, dtype="float32")
    with torch.no_grad():
        next(weights.backbone.parameters()).mul_(1.01)
    prompts, length = copy.copy(encoder), copy.copy(encoder)
    prompts.options, length.options = copy.copy(encoder.options), copy.copy(encoder.options)
    prompts.options.prompts = {"query": "Seek:\n"}
    length.options.max_length = 32
    pooled = bw.load(saved, pooling="max", dtype="float32")
    for other in (weights, prompts, length, pooled):
        found.add(identity(other))
    assert len(found) == 5


def test_local_folders_are_named_from_anywhere(saved: Path, monkeypatch) -> None:
    monkeypatch.chdir(saved.parent)
    assert model_name(saved.name) == str(saved.resolve())
    assert model_name("org/name") == "org/name"


def test_a_new_option_of_a_later_version_changes_nothing(encoder) -> None:
    @dataclasses.dataclass
    class Options(type(encoder.options)):
        new: str = "as before"

    later = copy.copy(encoder)
    later.options = Options(**vars(encoder.options))
    assert identity(later) == identity(encoder)
    later.options = Options(**vars(encoder.options), new="changed")
    assert identity(later) != identity(encoder)
