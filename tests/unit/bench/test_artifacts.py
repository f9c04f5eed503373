"""The forms of a model: the same weights without prompts, used again, and of one model only."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import bothways as bw
from bothways.bench.artifacts import Artifacts
from bothways.bench.worker_handle import WorkerError
from bothways.errors import InputError


def test_a_folder_is_of_one_model(base: Path, tmp_path: Path) -> None:
    made = Artifacts(str(base), tmp_path / "work")
    assert made.tokens == made.encoder().max_length == 512, "all positions, and no more than 2,048"
    stamp = (made.encoder_folder / "model.safetensors").stat().st_mtime_ns
    again = Artifacts(str(base), tmp_path / "work")
    assert (again.encoder_folder / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(InputError, match="has the forms of"):
        Artifacts("smollm2-135m", tmp_path / "work")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not a folder of bothways bench"):
        Artifacts(str(base), tmp_path / "other")


def test_an_encoder_keeps_its_weights_and_loses_its_prompts(base: Path, tmp_path: Path) -> None:
    own = bw.convert(base, dtype="float32", device="cpu", pooling="last", prompts={"query": "Find: "}, max_length=64)
    own.save(tmp_path / "own")
    plain = Artifacts(str(tmp_path / "own"), tmp_path / "work").encoder()
    assert plain.prompts == {} and plain.max_length == 64 and plain.pooling.mode == "last"
    np.testing.assert_array_equal(plain.encode("a text"), own.encode("a text"))


def test_forms_are_written_once(base: Path, tmp_path: Path) -> None:
    made, said = Artifacts(str(base), tmp_path / "work"), []
    assert made.place("encoder", Path(sys.executable), said.append) == made.encoder_folder
    first = made.place("gguf f32", Path(sys.executable), said.append)
    assert first.suffix == ".gguf" and made.place("gguf f32", Path(sys.executable), said.append) == first
    assert said == ["writing the model for gguf f32"]


def test_what_cannot_be_exported_gives_its_reason(base: Path, tmp_path: Path) -> None:
    bw.convert(base, dtype="float32", device="cpu", direction="causal").save(tmp_path / "own")
    made = Artifacts(str(tmp_path / "own"), tmp_path / "work")
    with pytest.raises(WorkerError, match="the encoder is causal"):
        made.place("gguf f32", Path(sys.executable), lambda line: None)
