"""Files of a checkpoint, of metrics and of a finished run that damage has reached: one line with the file and the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from bothways.errors import InputError
from bothways.training.loop.checkpoints import Checkpoints, StageState
from bothways.training.loop.metrics import read_metrics
from bothways.training.loop.optim import OptimConfig, build_optimizer
from bothways.training.loop.update import PlainUpdate
from bothways.training.stage.language_model import history

NOISE = [b"", b"{", b"[]", b"null", b"\xff\x00" * 50, b"[" * 50_000]


def saved(folder: Path) -> tuple[Checkpoints, dict[str, nn.Parameter]]:
    parameters = {"weight": nn.Parameter(torch.ones(3))}
    checkpoints = Checkpoints(folder, keep=2)
    checkpoints.save(parameters, {"state": {}}, StageState(step=1, losses=[0.5]))
    return checkpoints, parameters


@pytest.mark.parametrize("noise", NOISE, ids=range(len(NOISE)))
def test_weights_and_state(tmp_path: Path, noise: bytes) -> None:
    checkpoints, parameters = saved(tmp_path)
    assert checkpoints.load(1).losses == [0.5]
    checkpoints.restore(1, parameters, None)
    for name, call in (
        ("trainable.safetensors", lambda: checkpoints.restore(1, parameters, None)),
        ("state.json", lambda: checkpoints.load(1)),
    ):
        (checkpoints.path(1) / name).write_bytes(noise)
        with pytest.raises(InputError, match=rf"{name}: .*remove the folder to resume before it") as caught:
            call()
        assert "\n" not in str(caught.value)
    (checkpoints.path(1) / "trainable.safetensors").unlink()
    with pytest.raises(InputError, match=r"trainable\.safetensors: cannot be read as tensors"):
        checkpoints.restore(1, parameters, None)


def test_the_optimizer(tmp_path: Path) -> None:
    """A second checkpoint of one step takes the first one's place; the optimizer's file is named when it is broken."""
    parameters = {"weight": nn.Parameter(torch.ones(3, 2))}
    accelerator = Accelerator(cpu=True)

    def update() -> PlainUpdate:
        return PlainUpdate(parameters, build_optimizer(parameters, OptimConfig()), accelerator, None)

    trained = update()
    parameters["weight"].grad = torch.full((3, 2), 0.5)
    trained.step(0.1)
    checkpoints = Checkpoints(tmp_path, keep=2)
    for _ in range(2):
        checkpoints.save(parameters, trained.state(keep=True), StageState(step=1, losses=[0.5]))
    again = update()
    checkpoints.restore(1, parameters, again)
    moments = [each.optimizer.state[parameters["weight"]]["exp_avg"] for each in (trained, again)]
    assert torch.equal(*moments)
    assert float(moments[1].abs().sum()) > 0
    for noise in NOISE:
        (checkpoints.path(1) / "optimizer.pt").write_bytes(noise)
        with pytest.raises(InputError, match=r"optimizer\.pt: broken.*remove the folder to resume before it"):
            checkpoints.restore(1, parameters, update())


@pytest.mark.parametrize(
    "field", [{"step": "x"}, {"step": 7}, {"losses": []}, {"losses": None}, {"facts": []}, {"best": 3}, {"tokens": "x"}]
)
def test_values_of_a_state(tmp_path: Path, field: dict[str, object]) -> None:
    checkpoints, _ = saved(tmp_path)
    file = checkpoints.path(1) / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **field}))
    with pytest.raises(InputError, match=r"state\.json: .* is not what training writes there"):
        checkpoints.load(1)


def test_metrics_pass_over_what_is_not_a_line(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    whole = {"number": 0, "step": 1, "loss": 2.0}
    file.write_bytes(b"\n".join([json.dumps(whole).encode(), *NOISE, b'{"number": "x", "step": 1}', b"3"]))
    assert read_metrics(file) == [whole]


@pytest.mark.parametrize("content", ["", "[]", "null", '{"kind": "language model"}'])
def test_the_record_of_a_language_model(tmp_path: Path, content: str) -> None:
    (tmp_path / "bothways.json").write_text(content)
    with pytest.raises(InputError, match=r"bothways\.json: "):
        history(str(tmp_path))
