"""Families that are Llama with other factors, written as Llama."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import bothways as bw
from bothways.encoder.encoder import Encoder
from bothways.exports.as_llama import FORMS
from export_models import small_model

FIELDS: dict[str, dict[str, Any]] = {
    "granite": {"embedding_multiplier": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.1, "logits_scaling": 2.0},
    "seed_oss": {"attention_bias": True},
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("bases")


def encoder_of(bases: Path, family: str, **options: Any) -> Encoder:
    folder = bases / family
    if not folder.exists():
        small_model(folder, family, **FIELDS.get(family, {}))
    return bw.convert(folder, dtype="float32", **options)


def test_folding_in_changes_something(bases: Path) -> None:
    """Factors and reorderings that had no effect would leave the test above empty."""
    for family in set(FORMS) - {"mistral", "qwen2", "seed_oss", "phi3"}:
        state = {name: value.clone() for name, value in encoder_of(bases, family).backbone.state_dict().items()}
        before = state["layers.0.self_attn.q_proj.weight"].clone()
        FORMS[family](state, encoder_of(bases, family).backbone.config, 16)
        assert not torch.equal(before, state["layers.0.self_attn.q_proj.weight"])
