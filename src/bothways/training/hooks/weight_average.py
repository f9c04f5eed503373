"""An exponential average of the trained weights, with which a stage is measured and ends.

After each step, average ← d · average + (1 - d) · weights. It starts as the weights after the first
step, as in torch.optim.swa_utils. Polyak & Juditsky 1992. For training with a constant rate, see
arXiv 2306.13955.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bothways.foreign import read_tensors
from bothways.training.hooks.hook import Hook, Moment
from bothways.training.loop.checkpoints import REMOVE, StageState

FILE = "average.safetensors"


@dataclass(kw_only=True)
class WeightAverage(Hook):
    """Keeps the average. Each checkpoint holds it.

    It runs before the hooks that measure.

    Attributes:
        parameters: the trained ones by name.
        decay: d, in (0, 1).
    """

    parameters: Mapping[str, nn.Parameter]
    decay: float
    average: dict[str, Tensor] = field(default_factory=dict)

    def after_step(self, moment: Moment) -> None:
        """Add the weights to the average."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                if name in self.average:
                    self.average[name].lerp_(parameter.detach(), 1 - self.decay)
                else:
                    self.average[name] = parameter.detach().clone()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights inside the block, if there has been a step."""
        weights = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self.apply()
        try:
            yield
        finally:
            _copy(weights, self.parameters)

    def apply(self) -> None:
        """Give the model the averaged weights for good, if there has been a step."""
        _copy(self.average, self.parameters)

    def finish(self, state: StageState) -> None:
        """End with the averaged weights."""
        self.apply()

    def write(self, folder: Path, step: int) -> None:
        """Write the average into a checkpoint. Before the first step there is none."""
        if self.average:
            save_file(
                {name: tensor.cpu().contiguous() for name, tensor in self.average.items()},
                folder / FILE,
            )

    def read(self, folder: Path, step: int) -> None:
        """Restore the average of a checkpoint.

        Raises:
            InputError: if the file is missing or damaged.
        """
        self.average = {}
        if step:
            for name, tensor in read_tensors(folder / FILE, remedy=REMOVE).items():
                self.average[name] = tensor.to(self.parameters[name].device)

    def read_best(self, folder: Path, step: int) -> None:
        """Restore the average of the best checkpoint."""
        self.read(folder, step)


def _copy(tensors: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> None:
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)
