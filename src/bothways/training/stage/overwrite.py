"""Removes an earlier run from its folder, so that another can start there.

LLM2Vec's `overwrite_output_dir` asks for it. Only files that a run writes are removed. If the
folder holds no run, nothing is removed, and other files of the user always stay.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from bothways.errors import InputError
from bothways.folder_files import ENCODER_FILES, OURS

OF_A_RUN = ("checkpoints", "stages", "adapters", "metrics.jsonl")
"""Folders and files that only a run has. The recipe is removed last: until then the folder is known
as a run's."""
MARKERS = (OURS, "config.json", *ENCODER_FILES)
"""Files that make a folder a model, an encoder or an adapter. The new run replaces all its other
files.
"""
RECIPE = "recipe.yaml"
_WEIGHTS = (
    "model*.safetensors",
    "model.safetensors.index.json",
    "adapter_model.*",
    "trainable_params.*",
)


def is_run(folder: Path) -> bool:
    """Tell if a run has begun in `folder`."""
    return (folder / RECIPE).is_file()


def remove_run(folder: Path, needed: Iterable[str] = ()) -> None:
    """Remove the run in `folder`, if there is one.

    Args:
        folder: the run's folder.
        needed: inputs of the next run: models, adapters, sources of data.

    Raises:
        InputError: if one of them is in the folder.
    """
    if not is_run(folder):
        return
    place = folder.resolve()
    for name in needed:
        start = Path(name).expanduser()
        if start.exists() and place in (start.resolve(), *start.resolve().parents):
            raise InputError(
                f"{folder}: cannot be overwritten, because this run starts from {name} in it; choose another --out"
            )
    weights = (place for pattern in _WEIGHTS for place in folder.glob(pattern))
    for place in (*(folder / name for name in (*MARKERS, *OF_A_RUN)), *weights, folder / RECIPE):
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
