"""The two doors: what `convert` makes of its arguments, what `load` takes, and what each refuses
before reading gigabytes.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, MambaConfig, MistralConfig, RobertaConfig

import bothways as bw
from bothways.attention.positions import usable_positions
from bothways.encoder import convert as build
from bothways.encoder.texts.wrapping import Wrapper
from bothways.errors import InputError, UnsupportedFamily
from tiny import SENTENCES, TINY, tiny_llama, tiny_model

TEXTS = list(SENTENCES)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True})


@pytest.fixture(scope="module")
def saved(base: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "encoder"
    bw.convert(base, dtype="float32", device="cpu").save(folder)
    return folder


def test_defaults_are_those_documented(base: Path) -> None:
    encoder = bw.convert(base)
    assert (encoder.direction, encoder.pooling.mode, encoder.max_length, encoder.dimension) == (
        "bidirectional",
        "mean",
        512,
        32,
    )
    assert encoder.options == build.EncoderOptions(max_length=512)
    assert encoder.provenance["base"] == str(base)
    assert (encoder.provenance["stages"], encoder.provenance["source"]) == ([], "folder")
    assert not encoder.training


def test_options_arrive(base: Path) -> None:
    options: dict[str, Any] = {"pooling": "eos", "dtype": "bfloat16", "max_length": 9, "pool_bos": False, "normalize": True}
    encoder = bw.convert(base, direction="causal", prompts={"query": "q"}, wrapper=("[", "]"), device="cpu", **options)
    assert (encoder.direction, encoder.pooling.mode, encoder.dtype) == ("causal", "last", torch.bfloat16)
    expected = {"max_length": 9, "pool_bos": False, "normalize": True, "prompts": {"query": "q"}, "wrapper": Wrapper("[", "]")}
    assert encoder.options == build.EncoderOptions(**expected)
    assert encoder.encode(["a text"]).dtype == np.float32


def test_directions_differ(base: Path) -> None:
    both, causal = (bw.convert(base, direction=d, dtype="float32", device="cpu") for d in ("bidirectional", "causal"))
    assert np.abs(both.encode(TEXTS) - causal.encode(TEXTS)).max() > 1e-2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "median"}, "pooling: unknown mode 'median'"),
        ({"windows": "open"}, "windows: must be 'lift' or 'keep' \\(got 'open'\\)"),
        ({"direction": "both"}, "direction: must be 'bidirectional' or 'causal' \\(got 'both'\\)"),
        ({"dtype": "int4"}, "dtype 'int4' cannot be used"),
        ({"device": "tpu9"}, "device 'tpu9'"),
        ({"max_length": 0}, "max_length: must be at least 1 token \\(got 0\\)"),
        ({"wrapper": ("a", "b", "c", "d")}, "wrapper: must be \\(before, after\\)"),
        ({"wrapper": "[INST]"}, "wrapper: must be \\(before, after\\)"),
        ({"prompts": {"query": 3}}, "prompts.query: must be a string"),
        ({"pooling": "bos", "pool_bos": False}, "pool_bos: false leaves"),
    ],
)
def test_wrong_choices_fail_before_anything_is_read(base: Path, monkeypatch, options: dict[str, Any], message: str) -> None:
    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(build, "load_pretrained", never)
    with pytest.raises(InputError, match=message):
        bw.convert(base, **options)


def test_length_is_never_more_than_the_model_has_positions_for(tmp_path: Path) -> None:
    short = tiny_llama(tmp_path / "short", max_position_embeddings=40)
    assert [bw.convert(short, max_length=length).max_length for length in (512, 40, 7, None)] == [40, 40, 7, 40]
    config = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "pad_token_id": 2}
    config |= {"max_position_embeddings": 50, "type_vocab_size": 1}
    roberta = tiny_model(tmp_path / "roberta", RobertaConfig, auto=AutoModelForMaskedLM, **config)
    encoder = bw.convert(roberta, max_length=None, dtype="float32", device="cpu")
    assert encoder.max_length == usable_positions(encoder.backbone) == 47  # positions count from pad_token_id + 1
    assert np.isfinite(encoder.encode(["word " * 200])).all()


def test_families_that_cannot_turn_are_refused_by_name(tmp_path: Path) -> None:
    mamba = tiny_model(tmp_path / "mamba", MambaConfig, hidden_size=32, num_hidden_layers=1, state_size=4)
    with pytest.raises(UnsupportedFamily, match="mamba"):
        bw.convert(mamba)


def test_windows_are_reported(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", MistralConfig, **{**TINY, "sliding_window": 4})
    report = bw.convert(base).provenance["report"]
    assert report["lifted_windows"] == {"0": 4, "1": 4}
    assert report["notes"] == ["sliding window of 4 tokens in 2 layers lifted"]


def test_a_finished_encoder_is_not_converted_in_silence(saved: Path) -> None:
    with pytest.raises(InputError, match=r"is a finished encoder; use bothways.load"):
        bw.convert(saved)
    assert json.loads((saved / "bothways.json").read_text())["stages"] == []


def test_functions_that_moved_to_other_files_keep_their_old_names() -> None:
    for name in ("load", "is_encoder", "local_folder"):
        with pytest.warns(DeprecationWarning, match=rf"encoder\.convert\.{name} is bothways\.encoder\.load\.{name} now"):
            old = getattr(build, name)
        assert old is getattr(importlib.import_module("bothways.encoder.load"), name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = build.nonsense
