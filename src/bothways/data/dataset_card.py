"""Configurations that a data set's README.md states: which files belong to which split.

    ---
    configs:
    - config_name: en-qrels
      data_files:
      - split: test
        path: data/en-test-*.parquet
    ---

Patterns are those of `datasets.load_dataset`, relative to the folder. `data_files` may also be one
pattern or a list of patterns, which are the split "train", and `data_dir` is put before each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bothways.data.formats.shard_names import in_order
from bothways.errors import InputError
from bothways.foreign import foreign
from bothways.moved import old_names

SplitFiles = dict[str, tuple[Path, ...]]
"""Files of each split."""


def stated_configs(folder: Path) -> dict[str, SplitFiles]:
    """Read the configurations of a folder's README.md with their files, by name.

    Splits and configurations without any file are left out, because a download may hold only some.
    The result is empty if there is no README.md or if it states none with files.

    Raises:
        InputError: the front matter is broken, a pattern leaves the folder, or no file fits one
            pattern of a split although files fit another.
    """
    from huggingface_hub import metadata_load

    card = folder / "README.md"
    if not card.is_file():
        return {}
    with foreign(
        card,
        "has a front matter that cannot be read",
        "correct the lines between the dashes, or remove the file",
    ):
        stated = metadata_load(card) or {}
    configs = stated.get("configs") if isinstance(stated, dict) else None
    found: dict[str, SplitFiles] = {}
    for config in configs if isinstance(configs, list) else []:
        if isinstance(config, dict) and config.get("data_files"):
            name = str(config.get("config_name", "default"))
            below = config.get("data_dir") or ""
            splits = {
                split: _files(card, name, below, paths)
                for split, paths in _patterns(card, name, config["data_files"])
            }
            found[name] = {split: files for split, files in splits.items() if files}
    return {name: splits for name, splits in found.items() if splits}


def _patterns(card: Path, name: str, data_files: object) -> Iterator[tuple[str, list[Any]]]:
    """Yield (split, patterns) of a pattern, of several, or of a list of {split, path}."""
    entries = data_files if isinstance(data_files, list) else [data_files]
    if all(isinstance(entry, str) for entry in entries):
        yield "train", entries
        return
    for entry in entries:
        if not isinstance(entry, dict) or not {"split", "path"} <= entry.keys():
            raise InputError(
                f"{card}: data_files of {name!r} must be patterns, or entries with split and path (got {entry!r:.80})"
            )
        paths = entry["path"]
        yield str(entry["split"]), paths if isinstance(paths, list) else [paths]


def _files(card: Path, name: str, below: str, patterns: list[Any]) -> tuple[Path, ...]:
    found: dict[Path, None] = {}
    missing = None
    for pattern in patterns:
        if (
            not isinstance(pattern, str)
            or Path(pattern).is_absolute()
            or ".." in Path(below, pattern).parts
        ):
            raise InputError(
                f"{card}: path {pattern!r:.80} of {name!r} must be a pattern inside the folder"
            )
        fits = [
            path
            for path in card.parent.glob(str(Path(below, pattern)))
            if path.is_file() and not path.name.startswith(".")
        ]
        missing = missing if fits else pattern
        found.update(dict.fromkeys(in_order(fits)))
    if found and missing is not None:
        raise InputError(
            f"{card}: no file fits the path {missing!r} of {name!r}; fetch the files, or correct the path"
        )
    return tuple(found)


__getattr__ = old_names(__name__)
