"""The folder of a GGUF export explains itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import bothways as bw
from bothways.cli.app import app
from tiny import tiny_llama


@pytest.fixture
def encoder(tmp_path: Path) -> bw.Encoder:
    return bw.convert(tiny_llama(tmp_path / "base"), dtype="float32", device="cpu")


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
    text = (out / "README.md").read_text(encoding="utf-8")
    assert set(manifest["commands"]) == {"llama.cpp", "Ollama"} and all(each in text for each in manifest["commands"].values())
    assert "FROM ./encoder-F32.gguf" in (out / "Modelfile").read_text(encoding="utf-8")
    cases = {row["case"]: row for row in manifest["reference"]}
    assert {"short", "korean", "prompt query"} <= cases.keys()
    right = base.encode("Find:where does the river run", prompt="")
    assert np.allclose(cases["prompt query"]["vector"], right, atol=1e-6)
    assert cases["prompt query"]["cost"] < 0.9999, "the encoder itself leaves the prompt out of its pooling"
