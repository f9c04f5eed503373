"""`bothways doctor`: its exit code, its JSON, what fails while a folder is loaded, and `--graph`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import bothways as bw
from bothways.encoder.batch import TokenRow
from bothways.encoder.module import EncoderModule
from bothways.exports.graphs.short import short_passes
from tiny import tiny_llama
from unit.cli.cli_runner import runner


class Graph:
    """Computes short requests by torch, and multiplies the vectors of texts of 64 tokens by a mask."""

    tokens = 64
    account = None
    waits = False

    def __init__(self, right: bool) -> None:
        self.right = right

    def __call__(self, encoder: EncoderModule, rows: list[TokenRow]) -> np.ndarray | None:
        if max(len(row.ids) for row in rows) * len(rows) > self.tokens:
            return None
        found = torch.cat([encoder(encoder.pack([row])) for row in rows]).detach().numpy()
        if not self.right and len(rows[0].ids) == self.tokens:
            found[:, ::2] = 0
        return found


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    bw.convert(str(tiny_llama(tmp_path / "base")), dtype="float32").save(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_a_proved_encoder_ends_with_0(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = runner(capsys)("doctor", saved, "--quick", "--json")
    told = json.loads(done.out)
    assert (done.code, told["ok"], told["model"]) == (0, True, str(saved))
    assert len(told["checks"]) > 3 and "FAIL" not in done.err


def test_a_failed_proof_ends_with_1(saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding changes the vectors of this encoder."""
    plain = bw.Encoder.forward

    def forward(self: bw.Encoder, batch: object) -> object:
        found = plain(self, batch)
        return found + 0.1 * len(found)

    monkeypatch.setattr(bw.Encoder, "forward", forward)
    done = runner(capsys)("doctor", saved, "--quick", "--json")
    assert (done.code, json.loads(done.out)["ok"]) == (1, False) and "FAIL" in done.err


def test_a_missing_openvino_is_one_line(
    saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(short_passes, "installed", lambda: False)
    done = runner(capsys)("doctor", saved, "--quick", "--graph", "openvino")
    assert done.code == 2 and done.err.count("\n") == 1
    assert "pip install 'bothways[graph]'" in done.err


def test_another_value_is_refused(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = runner(capsys)("doctor", saved, "--quick", "--graph", "openvin")
    assert done.code == 2 and "--graph: did you mean 'openvino'?" in done.err


@pytest.mark.parametrize("right", [True, False])
def test_the_verdict_depends_on_the_graph(
    saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, right: bool
) -> None:
    def use(encoder: bw.Encoder, graph: str | None, *, now: bool = False) -> None:
        if graph == "openvino":
            encoder.graph = Graph(right)

    monkeypatch.setattr(short_passes, "use_graph", use)
    monkeypatch.setattr(short_passes, "installed", lambda: True)
    done = runner(capsys)("doctor", saved, "--quick", "--graph", "openvino", "--json")
    assert done.code == (0 if right else 1)
    found = {check["name"]: check for check in json.loads(done.out)["checks"]}["graph"]
    assert found["passed"] == right
    assert ("gives the same vectors" if right else "another vector for a text of 64 tokens") in found["sentence"]
