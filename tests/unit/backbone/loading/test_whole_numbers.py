"""Weights in int8 that nothing says how to scale are refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import bothways as bw
from bothways.errors import SourceError
from tiny import tiny_llama

NAME = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "base")


def rounded(folder: Path, kind: torch.dtype) -> Path:
    file = next(file for file in sorted(folder.glob("*.safetensors")) if NAME in load_file(file))
    tensors = load_file(file)
    save_file({**tensors, NAME: (tensors[NAME] * 127).to(kind)}, file, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.int32])
def test_a_weight_without_its_scale(base: Path, tmp_path: Path, kind: torch.dtype) -> None:
    folder = rounded(shutil.copytree(base, tmp_path / "folder"), kind)
    with pytest.raises(SourceError, match=rf"1 weights are whole numbers without a scale \({NAME} [IU]") as caught:
        bw.convert(folder, device="cpu", dtype="float32")
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_one_shard_of_several(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "folder")
    (folder / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(folder, max_shard_size="20KB")
    bw.convert(folder, device="cpu", dtype="float32")
    with pytest.raises(SourceError, match="whole numbers without a scale"):
        bw.convert(rounded(folder, torch.int8), device="cpu", dtype="float32")


def test_a_quantized_version_in_another_file_is_not_read(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "folder")
    save_file({NAME: torch.ones(4, 4, dtype=torch.int8)}, folder / "model_int8.safetensors")
    one, other = (bw.convert(each, device="cpu", dtype="float32").encode("a text") for each in (base, folder))
    assert (one == other).all()


def test_short_floats_and_integer_buffers_are_read(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "folder")
    file = folder / "model.safetensors"
    tensors = {name: value.to(torch.float8_e4m3fn) for name, value in load_file(file).items()}
    buffers = {
        "model.position_ids": torch.arange(4),
        "model.layers.0.self_attn.bias": torch.ones(1, 1, 4, 4, dtype=torch.uint8),
    }
    save_file({**tensors, **buffers}, file, metadata={"format": "pt"})
    assert bw.convert(folder, device="cpu", dtype="float32").encode("a text").shape == (32,)
