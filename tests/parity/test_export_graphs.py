"""ONNX and OpenVINO exports in their runtimes against the encoder itself. `make exports` installs
them; elsewhere these are skipped.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bothways as bw
from bothways.encoder.folder.head_modules import Headed
from bothways.errors import InputError, UnsupportedFamily
from bothways.exports.result import Result
from bothways.pooling.config import PoolingConfig
from export_models import small_model
from tiny import tiny_llama

NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "onnxruntime", "openvino")}
TEXTS = ["a cat", "The river runs from the old mountain to the sea in 1984 or 2024.", "x", "오늘은 날씨가 좋아서"]


def _needs(target: str) -> None:
    if not all(importlib.util.find_spec(name) for name in NEEDED[target]):
        pytest.skip(f"the runtime of {target} is not installed; see make exports")


def _least(results: list[Result]) -> float:
    return min(each.cosine for each in results)


@pytest.mark.parametrize(
    ("target", "mode"),
    [("onnx", mode) for mode in ("mean", "weighted_mean", "last", "bos", "max", "latent_attention")]
    + [("openvino", mode) for mode in ("last", "latent_attention")],
)
def test_every_pooling(tmp_path: Path, target: str, mode: str) -> None:
    _needs(target)
    tokenizer: dict[str, Any] = {"add_bos": True, "add_eos": True}
    encoder = bw.convert(tiny_llama(tmp_path / "base", tokenizer=tokenizer), dtype="float32", device="cpu")
    encoder.pooling = PoolingConfig.of(mode).build(32, seed=1).eval()
    encoder.options.pool_bos = False
    encoder.options.normalize = True
    encoder.options.prompts = {"query": "Find a text about this:\n"}
    out = bw.export(encoder, tmp_path / "out", to=target)
    loaded = bw.load(out)
    for options in ({}, {"prompt_name": "query"}, {"truncate_dim": 8}, {"normalize_embeddings": False}):
        own, there = encoder.encode(TEXTS, **options), loaded.encode(TEXTS, **options)
        assert np.abs(own - there).max() < 1e-5 * np.abs(own).max()
    assert np.abs(encoder.encode_query("a cat") - loaded.encode_query("a cat")).max() < 1e-5
    assert all(each.ok for each in bw.verify_export(out))


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.parametrize("model_type", ["gemma3_text", "gptj"])
def test_families(tmp_path: Path, model_type: str, target: str) -> None:
    _needs(target)
    base = small_model(tmp_path / "base", model_type)
    encoder = bw.convert(base, dtype="float32", device="cpu", windows="keep")
    assert _least(bw.verify_export(bw.export(encoder, tmp_path / "out", to=target))) > 0.9999


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.parametrize("pool_bos", [True, False])
def test_the_program_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, pool_bos: bool) -> None:
    _needs(target)
    base = tiny_llama(tmp_path / "base", tokenizer={"add_bos": True})
    options: dict[str, Any] = {"prompts": {"query": "Find:\n"}, "max_length": 40, "normalize": True}
    encoder = bw.convert(base, dtype="float32", device="cpu", pool_bos=pool_bos, **options)
    out = bw.export(encoder, tmp_path / "out", to=target)
    ours, theirs = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    assert "bothways" in ours and "bothways" not in theirs
    monkeypatch.chdir(out)
    names: dict[str, Any] = {}
    exec(compile(theirs, "README.md", "exec"), names)
    assert np.abs(names["vectors"][0] - encoder.encode("a text", prompt="")).max() < 1e-5


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_int8(tmp_path: Path, target: str) -> None:
    _needs(target)
    encoder = bw.convert(small_model(tmp_path / "base", "llama"), dtype="float32", device="cpu")
    sizes, least = [], []
    for dtype in ("f32", "int8"):
        out = bw.export(encoder, tmp_path / dtype, to=target, dtype=dtype)
        sizes.append(sum(file.stat().st_size for file in out.glob("*.data" if target == "onnx" else "*.bin")))
        least.append(_least(bw.verify_export(out)))
    assert sizes[1] < 0.8 * sizes[0]
    assert 0.99 < least[1] < least[0]  # rounded, and still right


def test_a_family_that_cannot_be_traced(tmp_path: Path) -> None:
    _needs("onnx")
    base = small_model(tmp_path / "base", "doge")
    with pytest.raises((UnsupportedFamily, InputError)):
        bw.export(base, tmp_path / "out", to="onnx")
    assert not (tmp_path / "out").exists()


def test_layers_behind_the_pooling(tmp_path: Path) -> None:
    _needs("onnx")
    from sentence_transformers.models import Dense, Normalize

    encoder = bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu")
    encoder.pooling = Headed(encoder.pooling, [Dense(32, 24), Normalize()], width=32, keep=16).eval()
    with pytest.raises(InputError, match="Dense and Normalize behind its pooling"):
        bw.export(encoder, tmp_path / "gguf", to="gguf")
    before = encoder.encode(TEXTS)
    out = bw.export(encoder, tmp_path / "out", to="onnx")
    assert np.array_equal(before, encoder.encode(TEXTS))  # the encoder is as it was
    assert np.abs(before - bw.load_export(out).encode(TEXTS)).max() < 1e-5
