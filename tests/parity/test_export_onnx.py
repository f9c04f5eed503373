"""An ONNX export in ONNX Runtime against the encoder itself. `make exports` installs it; elsewhere these are skipped."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bothways as bw
from bothways.encoder.folder.head_modules import Headed
from bothways.errors import InputError
from bothways.pooling.config import PoolingConfig
from export_models import small_model
from tiny import tiny_llama

needed = ("onnx", "onnxscript", "onnxruntime")
pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in needed), reason="onnxruntime is not installed; see make exports"
)
TEXTS = ["a cat", "The river runs from the old mountain to the sea in 1984 or 2024.", "x", "오늘은 날씨가 좋아서"]


@pytest.mark.parametrize("mode", ["mean", "weighted_mean", "last", "bos", "max", "latent_attention"])
def test_every_pooling(tmp_path: Path, mode: str) -> None:
    tokenizer: dict[str, Any] = {"add_bos": True, "add_eos": True}
    encoder = bw.convert(tiny_llama(tmp_path / "base", tokenizer=tokenizer), dtype="float32", device="cpu")
    encoder.pooling = PoolingConfig.of(mode).build(32, seed=1).eval()
    encoder.options.pool_bos = False
    encoder.options.normalize = True
    encoder.options.prompts = {"query": "Find a text about this:\n"}
    out = bw.export(encoder, tmp_path / "out", to="onnx")
    loaded = bw.load_export(out)
    for options in ({}, {"prompt_name": "query"}, {"truncate_dim": 8}):
        own, there = encoder.encode(TEXTS, **options), loaded.encode(TEXTS, **options)
        assert np.abs(own - there).max() < 1e-5
    assert np.abs(encoder.encode_query("a cat") - loaded.encode_query("a cat")).max() < 1e-5
    assert all(each.ok for each in bw.verify_export(out))


@pytest.mark.parametrize("model_type", ["qwen3", "gemma", "gpt2", "phi3", "olmo2", "stablelm", "mistral", "granite"])
def test_families(tmp_path: Path, model_type: str) -> None:
    out = bw.export(small_model(tmp_path / "base", model_type), tmp_path / "out", to="onnx")
    assert min(each.cosine for each in bw.verify_export(out)) > 0.9999


def test_layers_behind_the_pooling(tmp_path: Path) -> None:
    from sentence_transformers.models import Dense, Normalize

    encoder = bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu")
    encoder.pooling = Headed(encoder.pooling, [Dense(32, 24), Normalize()], width=32, keep=16).eval()
    with pytest.raises(InputError, match="Dense and Normalize behind its pooling"):
        bw.export(encoder, tmp_path / "gguf", to="gguf")
    out = bw.export(encoder, tmp_path / "out", to="onnx")
    assert np.abs(encoder.encode(TEXTS) - bw.load_export(out).encode(TEXTS)).max() < 1e-5


def test_the_encoder_is_as_it_was(tmp_path: Path) -> None:
    encoder = bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu")
    before = encoder.encode(TEXTS)
    bw.export(encoder, tmp_path / "out", to="onnx")
    assert np.array_equal(before, encoder.encode(TEXTS))
