"""Stand-ins for what hooks talk to: a log that remembers, an encoder that counts."""

from __future__ import annotations

from typing import Any

import torch

from bothways.training.hooks.hook import Moment, Readers
from bothways.training.loop.checkpoints import StageState
from bothways.training.loop.optimizer_step import StepResult


class Log:
    """Remembers the lines of a metrics file."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, Any]]] = []

    def write(self, step: int, values: dict[str, Any]) -> None:
        self.lines.append((step, values))


class Model:
    """An encoder that knows only its mode."""

    training = False

    def train(self) -> None:
        self.training = True

    def parameters(self) -> list[torch.nn.Parameter]:
        return []


class Alone:
    """One process."""

    is_main_process, num_processes, process_index = True, 1, 0


class Helper(Alone):
    """A process that is not the main one."""

    is_main_process, process_index = False, 1


ONE: Any = Readers(Alone(), False)  # type: ignore[arg-type]
OTHER: Any = Readers(Helper(), False)  # type: ignore[arg-type]


def moment(step: int, stop: int = 10, **state: Any) -> Moment:
    """After step `step`, whose loss was its number; before the first one if 0."""
    made = StageState(step=step, losses=[float(n) for n in range(1, step + 1)], tokens=7 * step, seconds=0.5 * step, **state)
    result = StepResult(float(step), 0.5, 0.1, 7, {"accuracy": step / 10}, False) if step else None
    return Moment(made, stop, result)
