"""A .gguf export: what is in the file, what is refused, and the way back through transformers' own
reader.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader
from transformers import AutoModel

import bothways as bw
from bothways.errors import InputError
from bothways.exports.gguf.gguf_file import write_gguf
from export_models import small_model
from tiny import tiny_llama


def fields(file: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in GGUFReader(file).fields.items() if not name.startswith("tokenizer.")}


@pytest.fixture
def encoder(tmp_path: Path) -> bw.Encoder:
    return bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu")


def test_the_file_says_that_it_is_a_bidirectional_encoder(encoder: bw.Encoder, tmp_path: Path) -> None:
    write_gguf(encoder, tmp_path / "x.gguf")
    found = fields(tmp_path / "x.gguf")
    assert found["general.architecture"] == "llama"
    assert found["llama.attention.causal"] is False
    assert found["llama.pooling_type"] == 1, "mean"
    assert found["llama.attention.head_count_kv"] == 2
    assert found["llama.block_count"] == 2


@pytest.mark.parametrize(("mode", "number"), [("mean", 1), ("bos", 2), ("last", 3)])
def test_pooling_has_llama_cpps_number(tmp_path: Path, mode: str, number: int) -> None:
    encoder = bw.convert(tiny_llama(tmp_path / "base"), pooling=mode, dtype="float32", device="cpu")
    write_gguf(encoder, tmp_path / "x.gguf")
    assert fields(tmp_path / "x.gguf")["llama.pooling_type"] == number


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "gemma2"])
def test_transformers_reads_the_weights_back(tmp_path: Path, model_type: str) -> None:
    """Its reader undoes the order of rotary rows and the offset of norms by code that is not
    ours.
    """
    encoder = bw.convert(small_model(tmp_path / "base", model_type), dtype="float32", device="cpu")
    write_gguf(encoder, tmp_path / "x.gguf")
    again = AutoModel.from_pretrained(tmp_path, gguf_file="x.gguf")
    own, read = encoder.backbone.state_dict(), again.state_dict()
    assert own.keys() == read.keys()
    assert max(float((own[name] - read[name]).abs().max()) for name in own) < 1e-6


@pytest.mark.parametrize(("dtype", "bar"), [("f16", 1e-3), ("q8_0", 2e-2)])
def test_smaller_types_round_matrices_and_keep_vectors(tmp_path: Path, dtype: str, bar: float) -> None:
    encoder = bw.convert(small_model(tmp_path / "base", "llama"), dtype="float32", device="cpu")
    write_gguf(encoder, tmp_path / "x.gguf", dtype=dtype)
    read = bw.convert(tmp_path / "x.gguf", dtype="float32", device="cpu").backbone.state_dict()
    worst = {
        name: float((value - read[name]).abs().max() / value.abs().max())
        for name, value in encoder.backbone.state_dict().items()
    }
    assert all(size == 0 for name, size in worst.items() if "norm" in name)
    assert 0 < max(worst.values()) < bar


def test_what_llama_cpp_does_otherwise_is_refused(tmp_path: Path) -> None:
    causal = bw.convert(tiny_llama(tmp_path / "base"), direction="causal", dtype="float32", device="cpu")
    with pytest.raises(InputError, match="causal; convert it"):
        write_gguf(causal, tmp_path / "x.gguf")
    weighted = bw.convert(tmp_path / "base", pooling="weighted_mean", dtype="float32", device="cpu")
    with pytest.raises(InputError, match="not have weighted_mean pooling; it has mean, bos, last"):
        write_gguf(weighted, tmp_path / "x.gguf")
    plain = bw.convert(tmp_path / "base", dtype="float32", device="cpu")
    with pytest.raises(InputError, match="f32, f16, q8_0, not as 'q4_0'"):
        write_gguf(plain, tmp_path / "x.gguf", dtype="q4_0")
    narrow = bw.convert(tiny_llama(tmp_path / "narrow", hidden_size=48), dtype="float32", device="cpu")
    with pytest.raises(InputError, match="multiple of 32"):
        write_gguf(narrow, tmp_path / "x.gguf", dtype="q8_0")
    first = bw.convert(tiny_llama(tmp_path / "bos", tokenizer={"add_bos": True}), dtype="float32", device="cpu")
    first.options.pool_bos = False
    with pytest.raises(InputError, match="does not pool BOS"):
        write_gguf(first, tmp_path / "x.gguf")
    assert not (tmp_path / "x.gguf").exists()
    assert not list(tmp_path.glob(".*.part"))
