"""Removes an earlier run from its folder, so that another can begin there (LLM2Vec's `overwrite_output_dir`).

Only what a run writes is removed. Where no run has begun, and what else a user keeps in the folder, stays.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from bothways.errors import InputError

#: Folders and files of a run's own, the recipe last: until it is gone, the folder is known as a run's.
OF_A_RUN = ("checkpoints", "stages", "adapters", "metrics.jsonl")
#: Files without which what lies beside them is no model, encoder or adapter; the new one's take the places of the others.
MARKERS = ("bothways.json", "modules.json", "config.json", "adapter_config.json", "llm2vec_config.json")
RECIPE = "recipe.yaml"
_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json", "adapter_model.*", "trainable_params.*")


def is_run(folder: Path) -> bool:
    """Whether a run has begun in `folder`."""
    return (folder / RECIPE).is_file()


def remove_run(folder: Path, needed: Iterable[str] = ()) -> None:
    """Remove the run that lies in `folder`; nothing happens where there is none.

    Args:
        folder: the run's.
        needed: what the next run starts from: models, adapters, sources of data.

    Raises:
        InputError: something of that lies in the folder.
    """
    if not is_run(folder):
        return
    place = folder.resolve()
    for name in needed:
        start = Path(name).expanduser()
        if start.exists() and place in (start.resolve(), *start.resolve().parents):
            raise InputError(
                f"{folder}: cannot be overwritten, since {name} in it is what this run starts from; choose another --out"
            )
    weights = (place for pattern in _WEIGHTS for place in folder.glob(pattern))
    for place in (*(folder / name for name in (*MARKERS, *OF_A_RUN)), *weights, folder / RECIPE):
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
