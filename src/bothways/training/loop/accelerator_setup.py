"""Sets up Accelerate: processes, devices and trackers (https://huggingface.co/docs/accelerate).

Start training with `accelerate launch` for several processes.
"""

from __future__ import annotations

import atexit
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin

from bothways.errors import InputError
from bothways.training.recipe.recipe import Recipe
from bothways.training.recipe.recipe_changes import binding


def build_accelerator(recipe: Recipe, device: torch.device, out: Path | None) -> Accelerator:
    """Build the accelerator of a run.

    Args:
        recipe: names the trackers.
        device: device that was asked for. Under `accelerate launch` each process has its own.
        out: folder for the trackers' files. If None, nothing is tracked.

    Raises:
        InputError: if a tracker is unknown, or if Accelerate has chosen another device before.
    """
    trackers: Any = list(recipe.trackers) if out is not None else []
    try:
        accelerator = Accelerator(
            cpu=device.type == "cpu",
            # The trainer handles precision and accumulation. A scale or a division from the
            # launcher's settings would be applied twice.
            mixed_precision="no",
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            log_with=trackers or None,
            project_dir=str(out) if out is not None else None,
        )
    except (ValueError, ImportError) as error:
        raise InputError(
            f"trackers {list(recipe.trackers)}: {str(error).splitlines()[0]}"
        ) from error
    found = accelerator.device
    if accelerator.num_processes == 1 and (device.type, device.index or 0) != (
        found.type,
        found.index or 0,
    ):
        raise InputError(
            f"device: you asked for {device}, but Accelerate gives {found}, because it chooses once per process; choose a GPU with "
            "CUDA_VISIBLE_DEVICES, and another kind of device in a new process"
        )
    if accelerator.num_processes > 1:
        atexit.unregister(_end_process_group)
        atexit.register(_end_process_group, accelerator)
    return accelerator


def start_trackers(recipe: Recipe, accelerator: Accelerator) -> None:
    """Start the recipe's trackers, and give them its values.

    Raises:
        InputError: if one is not installed.
    """
    if not recipe.trackers:
        return
    if len(accelerator.trackers) == 0 and len(accelerator.log_with) < len(recipe.trackers):
        known = [str(getattr(each, "value", each)) for each in accelerator.log_with]
        raise InputError(
            f"trackers: {sorted(set(recipe.trackers) - set(known))} not installed; pip install 'bothways[track]'"
        )
    plain = {
        key: value if isinstance(value, (int, float, str, bool)) else str(value)
        for key, value in binding(recipe.resolved()).items()
    }
    accelerator.init_trackers("bothways", config=plain)


def _end_process_group(accelerator: Accelerator) -> None:
    """End the process group, which a script that trains several times keeps until its end.

    If a thread of gloo lets go of its last tensor while the interpreter is torn down, it waits for
    the GIL in vain and aborts the process. The thread lives as long as anything refers to the
    group, as caches of sharded tensors do. A moment without the GIL lets it finish first.
    """
    accelerator.state.destroy_process_group()
    time.sleep(0.2)
