"""`bothways doctor`: its exit code, its JSON, and what fails while a folder is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import bothways as bw
from tiny import tiny_llama
from unit.cli.cli_runner import runner


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
