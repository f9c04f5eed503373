"""Two properties that a wrong line once did not disturb: dropout masks differ from step to step, and a checkpoint fits its recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from bothways.errors import InputError
from bothways.objectives.base import Objective, StepOutput
from bothways.training.loop.checkpoints import Checkpoints, StageState
from bothways.training.loop.optim import OptimConfig, build_optimizer
from bothways.training.loop.optimizer_step import Stepper, trainable_parameters
from bothways.training.loop.randomness import Order
from bothways.training.loop.update import PlainUpdate


class Masks(Objective):
    """Notes the dropout mask of each micro-batch, drawn as objectives draw theirs: from the seed that the step gives."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def prepare(self, texts, encoder):
        return list(texts)

    def collate(self, examples, generator):
        return torch.zeros(len(examples), 3)

    def count(self, batch):
        return len(batch)

    def step(self, encoder, batch, *, scale, backward, seed):
        torch.manual_seed(seed)
        self.seen.append(nn.functional.dropout(torch.ones(64), 0.5))
        loss = encoder(batch).sum() * 0
        backward(loss)
        return StepOutput(loss.detach(), len(batch))


def test_steps_over_the_same_rows_draw_different_masks() -> None:
    encoder, objective, accelerator = nn.Linear(3, 5), Masks(), Accelerator(cpu=True)
    parameters = trainable_parameters(encoder, objective)
    # as many rows as a step takes, so each step has all of them
    order = Order(4, size=2, accumulation=2, world=1, seed=5, stage=0)
    update = PlainUpdate(parameters, build_optimizer(parameters, OptimConfig(lr=0.1)), accelerator, None)
    parts: Any = {"encoder": encoder, "objective": objective, "examples": list(range(4)), "order": order, "update": update}
    parts |= {"accelerator": accelerator, "accumulation": 2, "seed": 5, "stage": 0}
    made = Stepper(**parts)
    for step in range(3):
        made(step, 0.1)
    again = Stepper(**parts)
    again(2, 0.1)  # resumed there
    masks = objective.seen
    assert len(masks) == 8
    assert len({tuple(mask.tolist()) for mask in masks[:6]}) == 6  # 3 steps of 2 micro-batches
    assert torch.equal(masks[4], masks[6])
    assert torch.equal(masks[5], masks[7])


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
