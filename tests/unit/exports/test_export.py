"""An export appears whole or not at all, and its options fit its target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bothways as bw
from bothways.errors import InputError
from tiny import tiny_llama


def test_nothing_is_left_of_a_refused_export(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base")
    with pytest.raises(InputError, match="'mlx' is not a target; known: gguf, ollama, onnx"):
        bw.export(base, tmp_path / "out", to="mlx")
    with pytest.raises(InputError, match="q4"):
        bw.export(base, tmp_path / "out", to="gguf", dtype="q4")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["base"]


def _encoder(folder: Path, **options: Any) -> bw.Encoder:
    return bw.convert(tiny_llama(folder, tokenizer={"add_bos": True}), dtype="float32", device="cpu", **options)


def test_types_and_quantize(tmp_path: Path) -> None:
    encoder = _encoder(tmp_path / "base")
    with pytest.raises(InputError, match="OpenVINO graphs are written as f32 or int8, not as 'f16'"):
        bw.export(encoder, tmp_path / "out", to="openvino", dtype="f16")
    with pytest.raises(InputError, match="known: int8, q8_0"):
        bw.export(encoder, tmp_path / "out", to="onnx", quantize="int3")
    with pytest.raises(InputError, match="give one of them"):
        bw.export(encoder, tmp_path / "out", to="onnx", quantize="int8", dtype="f32")
    assert not (tmp_path / "out").exists()
