"""Checkpoints of a stage: everything that training has changed, and its progress.

A killed run loses at most the work since the last checkpoint. A folder holds the trainable
parameters, the optimizer and a small state. Frozen weights come from the stage's start, and
randomness is a function of the step, so nothing else is needed. A folder appears whole or not at
all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bothways.atomic import atomic_folder, remove_folder
from bothways.errors import InputError
from bothways.foreign import foreign, read_object, read_tensors
from bothways.training.loop.weight_update import WeightUpdate
from bothways.training.parallel.sharding import put

_NAME = re.compile(r"step-(\d+)")
REMOVE = "remove the folder to resume before it"
# The content of a whole state.json. A damaged one is refused before training starts from it.
_TYPES: dict[str, Any] = {
    "step": int,
    "losses": list,
    "tokens": int,
    "seconds": (int, float),
    "best": (dict, type(None)),
    "watch": (dict, type(None)),
    "facts": dict,
}


@dataclass
class StageState:
    """The progress of a stage.

    Attributes:
        step: optimizer steps taken.
        losses: mean loss of each step, in order.
        tokens: tokens trained on.
        seconds: time spent training, over all sittings.
        best: {"step", "value"} of the best evaluation, or None.
        watch: first reading of the collapse watch, with which later ones are compared.
        facts: fingerprints of recipe and texts, and the number of processes. A checkpoint continues
            only under the same ones.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    best: dict[str, float] | None = None
    watch: dict[str, float] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The checkpoint folders of one stage, for example `folder`/step-00000100."""

    def __init__(self, folder: Path, *, keep: int, regular: tuple[int, int] | None = None) -> None:
        """Use `folder`, and keep the `keep` latest checkpoints and the best one.

        Args:
            folder: for example OUT/checkpoints/1-mntp.
            keep: number of the latest ones.
            regular: (number, steps): also the latest so many at multiples of so many steps. If
                None, no others.
        """
        self.folder, self.keep, self.regular = folder, keep, regular

    def path(self, step: int) -> Path:
        """Return the folder of one step. Names sort like numbers."""
        return self.folder / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """List the steps that have a whole checkpoint, ascending."""
        if not self.folder.is_dir():
            return []
        found = (
            _NAME.fullmatch(entry.name)
            for entry in self.folder.iterdir()
            if (entry / "state.json").is_file()
        )
        return sorted(int(match[1]) for match in found if match)

    def save(
        self,
        parameters: Mapping[str, Tensor],
        optimizer: Mapping[str, Any],
        state: StageState,
        extra: Callable[[Path], None] | None = None,
    ) -> Path:
        """Write the checkpoint of `state.step`, and remove those that are no longer kept.

        Args:
            parameters: the trained ones by name, whole; see `sharding.whole`.
            optimizer: its state dict, whole; see `update.WeightUpdate`.
            state: the stage's progress.
            extra: called with the folder, to add files to it. If None, nothing is added.
        """
        target = self.path(state.step)
        with atomic_folder(target, replace=True) as part:
            tensors = {
                name: parameter.detach().cpu().contiguous()
                for name, parameter in parameters.items()
            }
            save_file(tensors, part / "trainable.safetensors")
            torch.save(optimizer, part / "optimizer.pt")
            if extra is not None:
                extra(part)
            (part / "state.json").write_text(json.dumps(asdict(state)), encoding="utf-8")
        self._prune(state)
        return target

    def load(self, step: int) -> StageState:
        """Read the state of one checkpoint.

        Raises:
            InputError: if the file does not hold one.
        """
        path = self.path(step) / "state.json"
        with foreign(path, "not a checkpoint of this version", REMOVE):
            values = read_object(path, remedy=REMOVE)
            state = StageState(
                **{key: values[key] for key in (each.name for each in fields(StageState))}
            )
        wrong = next(
            (name for name, kinds in _TYPES.items() if not isinstance(getattr(state, name), kinds)),
            None,
        )
        if (
            wrong is not None
            or isinstance(state.step, bool)
            or state.step != step
            or len(state.losses) != step
        ):
            entry = wrong or "step, or the number of losses"
            raise InputError(f"{path}: {entry} is not what training writes there; {REMOVE}")
        return state

    def restore(
        self, step: int, parameters: Mapping[str, nn.Parameter], update: WeightUpdate | None
    ) -> None:
        """Restore a checkpoint's parameters, and with an update its optimizer's state.

        Raises:
            InputError: if the checkpoint holds other parameters.
        """
        folder = self.path(step)
        tensors = self._tensors(step, parameters)
        for name, parameter in parameters.items():
            put(parameter, tensors[name])
        if update is not None:
            with foreign(folder / "optimizer.pt", "broken", REMOVE):
                update.load(
                    torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True)
                )

    def restore_mean(self, steps: Sequence[int], parameters: Mapping[str, nn.Parameter]) -> None:
        """Restore the mean parameters of several checkpoints. They are added in float64.

        Raises:
            InputError: if a checkpoint holds other parameters.
        """
        sums: dict[str, Tensor] = {}
        for step in steps:
            for name, tensor in self._tensors(step, parameters).items():
                sums[name] = sums[name] + tensor.double() if name in sums else tensor.double()
        for name, parameter in parameters.items():
            put(parameter, (sums[name] / len(steps)).to(parameter.dtype))

    def _tensors(self, step: int, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Read the parameters of a checkpoint, and check that they are those of the recipe."""
        folder = self.path(step)
        tensors = read_tensors(folder / "trainable.safetensors", remedy=REMOVE)
        if tensors.keys() != parameters.keys() or any(
            tensors[name].shape != each.shape for name, each in parameters.items()
        ):
            raise InputError(
                f"{folder}: holds other parameters than this recipe trains; use another output folder"
            )
        return tensors

    def _prune(self, state: StageState) -> None:
        steps = self.steps()
        kept = set(steps[-self.keep :])
        if self.regular is not None:
            count, every = self.regular
            kept.update([step for step in steps if step % every == 0][-count:])
        if state.best is not None:
            kept.add(int(state.best["step"]))
        # By names, not by `steps`: a folder that an older version was killed in removing has no
        # state.
        found = (_NAME.fullmatch(entry.name) for entry in self.folder.iterdir())
        for step in sorted(int(match[1]) for match in found if match):
            if step not in kept:
                remove_folder(self.path(step))
