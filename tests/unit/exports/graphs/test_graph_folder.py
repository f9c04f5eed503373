"""A graph is written with its files, and one that gives other vectors is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import bothways as bw
from bothways.cli.app import app
from bothways.errors import InputError
from tiny import tiny_llama


def _encoder(folder: Path, **options: Any) -> bw.Encoder:
    return bw.convert(tiny_llama(folder, tokenizer={"add_bos": True}), dtype="float32", device="cpu", **options)


def test_a_wrong_graph_is_not_written(tmp_path: Path, torch_runtime: list[float]) -> None:
    encoder = _encoder(tmp_path / "base")
    torch_runtime[0] = 1.0
    with pytest.raises(InputError, match=r"cosine .* at least 0\.9999"):
        bw.export(encoder, tmp_path / "out", to="onnx")
    assert not (tmp_path / "out").exists()
    torch_runtime[0] = 0.0
    out = bw.export(encoder, tmp_path / "out", to="onnx")
    assert CliRunner().invoke(app, ["verify-export", str(out)]).exit_code == 0
    torch_runtime[0] = 1.0
    found = CliRunner().invoke(app, ["verify-export", str(out)])
    assert found.exit_code == 1
    assert "FAIL  ONNX Runtime  korean, batch" in found.output
