"""A fingerprint tells models apart, exports too."""

from __future__ import annotations

from pathlib import Path

import torch

from bothways.bulk.model_request import ModelRequest, fingerprint
from bothways.exports.graphs.exported import ExportedEncoder
from unit.bulk.material import reopened


def test_equal_for_the_same_encoder_only(model: Path) -> None:
    first = fingerprint(reopened(model))
    assert fingerprint(ModelRequest(str(model), "cpu", "float32").open()) == first
    assert fingerprint(ModelRequest(str(model), "cpu", "bfloat16").open()) != first
    assert fingerprint(ModelRequest(str(model), "cpu", "float32", "last").open()) != first
    changed = reopened(model)
    with torch.no_grad():
        next(changed.backbone.parameters()).add_(1e-3)
    assert fingerprint(changed) != first


def test_an_export_is_known_by_its_files(model: Path, tmp_path: Path) -> None:
    """Its weights are in the graph, which torch does not see."""
    encoder = ExportedEncoder.__new__(ExportedEncoder)
    torch.nn.Module.__init__(encoder)
    encoder.place = tmp_path
    (tmp_path / "model.onnx").write_bytes(b"weights")
    first = fingerprint(encoder)
    assert fingerprint(encoder) == first
    (tmp_path / "model.onnx").write_bytes(b"weightz")
    assert fingerprint(encoder) != first


def test_each_process_gets_a_gpu_in_turn(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    request = ModelRequest("m")
    assert [request._device(index) for index in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert ModelRequest("m", device="cpu")._device(1) == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert request._device(5) == "auto"
