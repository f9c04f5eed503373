"""A checkpoint fits its recipe, old ones go, and a damaged one is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from bothways.errors import InputError
from bothways.training.loop.checkpoints import Checkpoints, StageState
from bothways.training.loop.optim import OptimConfig, build_optimizer
from bothways.training.loop.weight_update import PlainUpdate

NOISE = [b"", b"{", b"[]", b"null", b"\xff\x00" * 50, b"[" * 50_000]


@pytest.mark.parametrize("other", ["name", "shape", "more", "fewer"])
def test_a_checkpoint_of_other_parameters_is_refused(other: str, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", keep=1)
    checkpoints.save({"a": torch.ones(2, 3), "b": torch.ones(4)}, {}, StageState(step=1))
    parameters = {"a": nn.Parameter(torch.zeros(2, 3)), "b": nn.Parameter(torch.zeros(4))}
    checkpoints.restore(1, parameters, None)
    assert torch.equal(parameters["a"], torch.ones(2, 3))
    if other == "name":
        parameters["c"] = parameters.pop("b")
    elif other == "shape":
        parameters["b"] = nn.Parameter(torch.zeros(1))  # what a copy would broadcast to is another matter
    elif other == "more":
        parameters["c"] = nn.Parameter(torch.zeros(1))
    else:
        del parameters["b"]
    before = {name: value.detach().clone() for name, value in parameters.items()}
    with pytest.raises(InputError, match=r"step-00000001: holds other parameters than this recipe trains"):
        checkpoints.restore(1, parameters, None)
    assert all(torch.equal(before[name], value) for name, value in parameters.items())


def test_old_checkpoints_go_even_half_removed_ones(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", keep=1)
    half = tmp_path / "c" / "step-00000003"  # what an older version, killed in removing it, has left
    half.mkdir(parents=True)
    (half / "optimizer.pt").touch()
    mine = tmp_path / "c" / "notes"
    mine.mkdir()
    for step in (4, 5):
        checkpoints.save({"a": torch.ones(2)}, {}, StageState(step=step, best={"step": 4, "value": 1.0}))
    assert sorted(each.name for each in (tmp_path / "c").iterdir()) == ["notes", "step-00000004", "step-00000005"]


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


@pytest.mark.parametrize(
    "field", [{"step": "x"}, {"step": 7}, {"losses": []}, {"losses": None}, {"facts": []}, {"best": 3}, {"tokens": "x"}]
)
def test_values_of_a_state(tmp_path: Path, field: dict[str, object]) -> None:
    checkpoints, _ = saved(tmp_path)
    file = checkpoints.path(1) / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **field}))
    with pytest.raises(InputError, match=r"state\.json: .* is not what training writes there"):
        checkpoints.load(1)


def test_the_optimizer(tmp_path: Path) -> None:
    """A second checkpoint of one step takes the first one's place; the optimizer's file is named
    when it is broken.
    """
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
