"""Selects the files of a folder that are published: those that bothways writes for an encoder.

The folder of a run also has checkpoints, optimizer state, logs, the recipe and files of the user.
They are not published. A file that a loader would read, and that bothways does not write, is
refused, because the folder would be another model without it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from bothways.backbone.loading.model_source import TOKENIZER_FILES
from bothways.encoder.folder import pooling_module, template_module
from bothways.encoder.folder.card import CARD
from bothways.errors import InputError
from bothways.folder_files import ADAPTER, ENCODER_SETTINGS, MODULES, OURS, TRANSFORMER_SETTINGS
from bothways.foreign import read_object

INDEX = "model.safetensors.index.json"
READ = (
    *("config.json", "model.safetensors", "model-*.safetensors", INDEX),
    *(
        *TOKENIZER_FILES,
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "merges.txt",
    ),
    *(MODULES, TRANSFORMER_SETTINGS, ENCODER_SETTINGS, OURS),
    *(
        "[0-9]*_*/config.json",
        "[0-9]*_*/model.safetensors",
        pooling_module.CODE.name,
        template_module.CODE.name,
    ),
)
"""Files of an encoder that loaders read, as patterns below its folder."""
KEPT = (CARD, "LICENSE*", "LICENCE*", "NOTICE*")
"""Files for people, which are published too."""
_OTHERS = {
    ADAPTER: "transformers would put its adapter on top of the weights",
    "chat_template.jinja": "sentence-transformers would write every text into it",
    "preprocessor_config.json": "sentence-transformers would take the model for one of images or sound",
    "processor_config.json": "sentence-transformers would take the model for one of images or sound",
}


class Contents(NamedTuple):
    """Names below the folder, with forward slashes, in order.

    Attributes:
        files: files to upload.
        left_out: files and folders to leave out. A folder ends in a slash.
    """

    files: list[str]
    left_out: list[str]


def contents(folder: Path, include: Iterable[str] = ()) -> Contents:
    """Select the files of an encoder's folder that are published.

    Args:
        folder: folder of `save` or of a run.
        include: patterns of more files, for example "*.png".

    Raises:
        InputError: if the folder does not hold a finished encoder of bothways, or holds a file that
            would change how it is loaded.
    """
    _check_finished(folder)
    wanted = (*READ, *KEPT, *include)
    files: list[str] = []
    left_out: list[str] = []
    for parent, folders, names in os.walk(folder):
        below = Path(parent).relative_to(folder)
        for name in sorted(names):
            path = (below / name).as_posix()
            (files if _matches(path, wanted) and (folder / path).is_file() else left_out).append(
                path
            )
        for name in sorted(folders):
            path = (below / name).as_posix()
            if not any(_matches(f"{path}/{file}", wanted) for file in _below(folder / path)):
                left_out.append(f"{path}/")
                folders.remove(name)
    shards = _shards(folder)
    stray = [name for name in files if fnmatch(name, "model-*.safetensors") and name not in shards]
    return Contents(sorted(set(files) - set(stray)), sorted([*left_out, *stray]))


def stale(names: Iterable[str], files: Iterable[str]) -> list[str]:
    """Return files of an earlier model that loaders would still read after the upload.

    Args:
        names: the files in the repository.
        files: the files to upload.
    """
    kept = set(files)
    return [
        name for name in names if name not in kept and (_matches(name, READ) or name in _OTHERS)
    ]


def matching(paths: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Return the paths that match a pattern, for example "LICENSE*"."""
    return [path for path in paths if _matches(path, patterns)]


def _below(folder: Path) -> list[str]:
    return [
        Path(parent, name).relative_to(folder).as_posix()
        for parent, _, names in os.walk(folder)
        for name in names
    ]


def _matches(path: str, patterns: Iterable[str]) -> bool:
    # a star does not match a slash: "*.png" means only files next to the card
    parts = path.split("/")
    for pattern in patterns:
        wanted = pattern.split("/")
        if len(wanted) == len(parts) and all(
            fnmatch(part, each) for part, each in zip(parts, wanted)
        ):
            return True
    return False


def _check_finished(folder: Path) -> None:
    missing = next(
        (name for name in (OURS, MODULES, "config.json") if not (folder / name).is_file()), None
    )
    if missing is not None:
        fault = (
            "is not a folder"
            if not folder.is_dir()
            else f"is not a finished encoder of bothways ({missing} is missing)"
        )
        raise InputError(f"{folder}: {fault}; write one with bothways convert or bothways train")
    for name, effect in _OTHERS.items():
        if (folder / name).exists():
            raise InputError(
                f"{folder / name}: bothways did not write this file, and {effect}; remove it, or save the encoder into a new folder"
            )
    single, index = (folder / "model.safetensors").is_file(), (folder / INDEX).is_file()
    if single == index:
        state = (
            "both model.safetensors and an index of parts, and loaders differ in which they read"
            if single
            else "no weights"
        )
        raise InputError(f"{folder}: holds {state}; save the encoder into a new folder")
    lacking = next((name for name in _shards(folder) if not (folder / name).is_file()), None)
    if lacking is not None:
        raise InputError(
            f"{folder / lacking}: is missing, but {INDEX} names it; save the encoder again"
        )


def _shards(folder: Path) -> set[str]:
    """Return the weight files in the index."""
    if not (folder / INDEX).is_file():
        return set()
    found = read_object(folder / INDEX).get("weight_map")
    if not isinstance(found, dict):
        raise InputError(f"{folder / INDEX}: weight_map must be an object; save the encoder again")
    return {str(name) for name in found.values()}


def read_ours(folder: Path) -> dict[str, object]:
    """Read bothways.json of a folder."""
    return read_object(folder / OURS)


def write_ours(folder: Path, ours: dict[str, object]) -> None:
    """Write bothways.json into a folder in the form that `save` gives it."""
    text = json.dumps(ours, indent=2, ensure_ascii=False) + "\n"
    (folder / OURS).write_text(text, encoding="utf-8", errors="backslashreplace")
