"""A .gguf export: what is in the file, what is refused, and the way back through transformers' own
reader.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from transformers import AutoModel
from typer.testing import CliRunner

import bothways as bw
from bothways.cli.app import app
from bothways.errors import InputError, UnsupportedFamily
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


@pytest.mark.parametrize(
    ("model_type", "changed", "said"),
    [
        ("bloom", {}, "bloom gives other vectors in llama.cpp: its bias grows"),
        ("codegen", {}, "codegen has not been measured"),
        ("llama", {"hidden_act": "relu"}, "activation relu, and llama.cpp computes"),
        ("gemma2", {"query_pre_attn_scalar": 24}, "query_pre_attn_scalar is 24"),
        ("smollm3", {"no_rope_layers": [1, 0, 1, 1]}, "every fourth layer"),
    ],
)
def test_a_family_that_would_be_wrong_is_refused(tmp_path: Path, model_type: str, changed: dict[str, Any], said: str) -> None:
    encoder = bw.convert(small_model(tmp_path / "base", model_type, **changed), dtype="float32", device="cpu")
    with pytest.raises(UnsupportedFamily, match=said):
        write_gguf(encoder, tmp_path / "x.gguf")


def test_an_unknown_pre_tokenizer_is_refused(encoder: bw.Encoder, tmp_path: Path) -> None:
    from tokenizers import pre_tokenizers

    encoder.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    with pytest.raises(InputError, match="does not have this tokenizer's pre-tokenizer"):
        write_gguf(encoder, tmp_path / "x.gguf")


def test_the_command_writes_a_folder_that_explains_itself(tmp_path: Path) -> None:
    base = bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu")
    base.options.prompts = {"query": "Find:"}
    base.save(tmp_path / "encoder")
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["export", str(tmp_path / "encoder"), "--to", "gguf", "--out", str(out)])
    assert done.exit_code == 0, done.output
    manifest = json.loads((out / "bothways-export.json").read_text(encoding="utf-8"))
    assert manifest["file"] == "encoder-F32.gguf"
    assert (out / manifest["file"]).is_file()
    assert manifest["command"] in (out / "README.md").read_text(encoding="utf-8")
    assert "FROM ./encoder-F32.gguf" in (out / "Modelfile").read_text(encoding="utf-8")
    cases = {row["case"]: row for row in manifest["reference"]}
    assert {"short", "korean", "prompt query"} <= cases.keys()
    right = base.encode("Find:where does the river run", prompt="")
    assert np.allclose(cases["prompt query"]["vector"], right, atol=1e-6)
    assert cases["prompt query"]["cost"] < 0.9999, "the encoder itself leaves the prompt out of its pooling"


def test_nothing_is_left_of_a_refused_export(tmp_path: Path) -> None:
    base = tiny_llama(tmp_path / "base")
    with pytest.raises(InputError, match="'mlx' is not a target; known: gguf, ollama, onnx"):
        bw.export(base, tmp_path / "out", to="mlx")
    with pytest.raises(InputError, match="q4"):
        bw.export(base, tmp_path / "out", to="gguf", dtype="q4")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["base"]


def test_a_damaged_export_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not an export"):
        bw.verify_export(tmp_path)
    (tmp_path / "bothways-export.json").write_text("[]")
    with pytest.raises(InputError, match="damaged"):
        bw.verify_export(tmp_path)
