"""Saved folders in releases of transformers that would read them causally: refused there, and
readable here.

With TRANSFORMERS_4_PYTHON, the path of a Python that has transformers 4, that release itself is
asked.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModel, AutoTokenizer

import bothways as bw
from bothways.attention.direction import set_direction
from bothways.attention.older_loaders import GUARD
from tiny import tiny_llama

PYTHON = os.environ.get("TRANSFORMERS_4_PYTHON")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tiny_llama(tmp_path_factory.mktemp("base"), tokenizer={"add_bos": True})
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<pad>"]})  # as base models with chat tokens have
    tokenizer.save_pretrained(folder)
    return folder


def values(folder: Path, name: str = "config.json") -> dict:
    return json.loads((folder / name).read_text())


def test_version_4_turns_the_keys_names_into_numbers(base: Path, tmp_path: Path) -> None:
    bw.convert(base, dtype="float32").save(tmp_path / "saved")
    (name,) = values(tmp_path / "saved")[GUARD]
    with pytest.raises(ValueError, match=r"needs transformers 5\.2 or newer"):  # what version 4 does with it
        int(name)
    assert AutoConfig.from_pretrained(tmp_path / "saved").is_causal is False


def test_a_causal_folder_is_open_to_all(base: Path, tmp_path: Path) -> None:
    bw.convert(base, direction="causal", dtype="float32").save(tmp_path / "causal")
    assert GUARD not in values(tmp_path / "causal")
    bw.convert(base, dtype="float32").save(tmp_path / "saved")
    model = AutoModel.from_pretrained(tmp_path / "saved")
    assert hasattr(model.config, GUARD)
    set_direction(model, "causal")
    assert not hasattr(model.config, GUARD)


def test_the_tokenizers_settings_have_the_older_names(base: Path, tmp_path: Path) -> None:
    encoder = bw.convert(base, dtype="float32")
    encoder.save(tmp_path / "saved")
    settings = values(tmp_path / "saved", "tokenizer_config.json")
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert isinstance(settings.get("extra_special_tokens", {}), dict)
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert again.all_special_tokens == encoder.tokenizer.all_special_tokens
    assert again("a <pad> b").input_ids == encoder.tokenizer("a <pad> b").input_ids


@pytest.mark.skipif(PYTHON is None, reason="TRANSFORMERS_4_PYTHON names no Python with transformers 4")
def test_in_version_4_itself(base: Path, tmp_path: Path) -> None:
    encoder = bw.convert(base, dtype="float32")
    encoder.save(tmp_path / "saved")
    read = "print(t.AutoTokenizer.from_pretrained(sys.argv[1])('a <pad> b').input_ids)"
    code = f"import sys, transformers as t; {read}; t.AutoModel.from_pretrained(sys.argv[1])"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([str(PYTHON), "-c", code, tmp_path / "saved"], capture_output=True, text=True, env=environment)
    assert done.returncode != 0 and "this encoder needs transformers 5.2 or newer" in done.stderr
    assert json.loads(done.stdout) == encoder.tokenizer("a <pad> b").input_ids
