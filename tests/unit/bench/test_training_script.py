"""benchmarks/training.py: both sides compute the same loss and gradients, and do not do the same work."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tiny import SENTENCES, tiny_llama

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sides() -> ModuleType:
    return _module("training_sides")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.txt"
    words = " ".join(SENTENCES).split()
    lines = [f"{n} " + " ".join(words[n % 9 : n % 9 + 1 + (n * 7) % 6]) for n in range(400)]  # none is cut
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def made(sides: ModuleType, tmp_path: Path, texts: Path, stage: str, side: str, **changes: Any) -> Any:
    base = tmp_path / "base"
    if not base.exists():
        tiny_llama(base)
    plain = {"batch": 4 if stage == "mntp" else 16, "length": 48, "dropout": 0.0, "adapter_dropout": 0.0, **changes}
    return sides.Step(sides.Setting(stage=stage, side=side, model=str(base), texts=str(texts), **plain))


def rows_of(step: Any, module: Any, number: int = 0) -> int:
    """Rows that a module computes in one step."""
    rows = [0]

    def note(_: Any, given: Any, out: torch.Tensor) -> None:
        rows[0] += out.numel() // out.shape[-1]

    hook = module.register_forward_hook(note)
    step.gradients(number)
    hook.remove()
    return rows[0]


@pytest.mark.parametrize("stage", ["mntp", "simcse"])
def test_both_sides_compute_the_same(sides: ModuleType, tmp_path: Path, texts: Path, stage: str) -> None:
    """Without dropout. With it, both sides draw other masks."""
    own, plain = (made(sides, tmp_path, texts, stage, side) for side in sides.SIDES)
    own.objective._checked = True  # SimCSE refuses to learn without dropout
    for number in (0, 1):
        (loss, gradients), (wanted, others) = own.gradients(number), plain.gradients(number)
        assert loss == pytest.approx(wanted, rel=1e-5)
        assert len(gradients) == len(others) > 0 and any(float(each.abs().max()) > 0 for each in others)
        for a, b in zip(gradients, others):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_the_vocabulary_is_computed_at_labels_alone(sides: ModuleType, tmp_path: Path, texts: Path) -> None:
    own, plain = (made(sides, tmp_path, texts, "mntp", side) for side in sides.SIDES)
    labels = len(own.batch(0)[0].targets)
    assert rows_of(own, own.objective.head) == labels
    assert rows_of(plain, plain.objective.head) == 4 * 48 > 4 * labels


def test_tokens_of_a_contrastive_step(sides: ModuleType, tmp_path: Path, texts: Path) -> None:
    own, plain = (made(sides, tmp_path, texts, "simcse", side, dropout=0.3) for side in sides.SIDES)
    asked = 2 * sum(len(row.ids) for row in own.batch(0)[1])
    ours, theirs = (rows_of(each, each.encoder.backbone.layers[0].mlp.up_proj) for each in (own, plain))
    assert asked <= ours <= asked + 64  # one filler
    assert theirs > 1.2 * asked


def test_a_step_changes_the_weights(sides: ModuleType, tmp_path: Path, texts: Path) -> None:
    for side in sides.SIDES:
        step = made(sides, tmp_path, texts, "mntp", side, checkpointing=True)
        before = [each.detach().clone() for each in step.trained]
        seconds, loss = step(0)
        assert seconds > 0 and 0 < loss < 20
        assert any(not torch.equal(a, b) for a, b in zip(before, step.trained))


def test_the_whole_command(
    tmp_path: Path, texts: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With figures made by hand: sides that take a second and two, and 100 and 300 MiB."""
    script = _module("training")
    asked: list[dict[str, Any]] = []

    class Side:
        loaded = 5.0 * 2**20

        def __init__(self, setting: dict[str, Any], options: Any) -> None:
            asked.append(setting)
            self.own = setting["side"] == script.SIDES[0]

        def ask(self, number: int) -> dict[str, float]:
            seconds = (1.0 if self.own else 2.0) + number / 100
            return {"seconds": seconds, "loss": 3.0, "bytes": (105.0 if self.own else 305.0) * 2**20}

        def close(self) -> None:
            pass

    monkeypatch.setattr(script, "Worker", Side)
    out = tmp_path / "training.json"
    assert script.main(["--rounds", "3", "--large", "24", "--json", str(out)]) == 0
    record = json.loads(out.read_text())
    found = record["stages"]["mntp"]
    assert found["ratio"] == pytest.approx(2.02 / 1.02) and found["memory_ratio"] == pytest.approx(1 / 3)
    assert set(record["large"]) == {"64", "24"} and record["large"]["24"]["mib"] == 100
    assert [setting["batch"] for setting in asked] == [8, 8, 64, 64, 64, 24]
    assert "times as fast" in capsys.readouterr().out


def test_a_worker_answers_each_line(
    sides: ModuleType, tmp_path: Path, texts: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_llama(tmp_path / "base")
    monkeypatch.setattr("sys.stdin", io.StringIO("0\n1\n"))
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    given = dict(stage="simcse", side=sides.SIDES[1], model=str(tmp_path / "base"), texts=str(texts), batch=4, length=16)
    assert _module("training").main(["--worker", json.dumps({**given, "threads": 1})]) == 0
    loaded, *steps = map(json.loads, capsys.readouterr().out.strip().splitlines())
    assert loaded["bytes"] > 0 and [set(step) for step in steps] == [{"seconds", "loss", "bytes"}] * 2
