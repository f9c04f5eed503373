"""The README has the command of the server, and the cost of prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bothways as bw
from bothways.encoder.encoder import Encoder
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


def test_the_readme_has_the_command_and_the_prompts_cost(bases: Path, tmp_path: Path) -> None:
    encoder = encoder_of(bases, "llama", prompts={"query": "Find:\n", "task": "Ask {text} now"}, max_length=300)
    text = (bw.export(encoder, tmp_path / "vllm", to="vllm") / "README.md").read_text()
    assert "vllm serve . --runner pooling --convert embed --max-model-len 300" in text
    assert "| query | `Find:\\nwhere does" in text and "| task | `Ask where does" in text
    assert "Needs transformers 5.2 or newer" in text[:500]
    text = (bw.export(encoder, tmp_path / "tei", to="tei") / "README.md").read_text()
    assert "text-embeddings-router --model-id . --pooling mean --dtype float16" in text
