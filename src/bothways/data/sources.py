"""What the name of a text source means: a file, a folder, a hub dataset or the embedded text.

Apart from the readers because provenance (`fingerprint.describe`) asks the same question without reading a single text.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bothways.data.rows import FORMATS, Row, format_of
from bothways.errors import InputError, SourceError

log = logging.getLogger("bothways")

EMBEDDED = "python-stdlib"
_HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<config>[^:/]+)(/(?P<split>[^:/]+))?)?")
_NOT_DATA = {"readme", "license", "licence"}  # stems of files that describe a folder rather than belong to it


@dataclass(frozen=True)
class TextSource:
    """A resolved source. `files` is empty for hub and embedded sources; `name`, `config`, `split` matter for the hub."""

    kind: Literal["file", "folder", "hub", "embedded"]
    name: str
    files: tuple[Path, ...] = ()
    config: str | None = None
    split: str = "train"

    @property
    def label(self) -> str:
        """How messages name the source."""
        return self.name if self.kind != "hub" else f"{self.name}:{self.config or 'default'}/{self.split}"


def resolve_texts(source: str | Path) -> TextSource:
    """Tell what `source` names; an existing path wins over a hub dataset of the same name.

    Args:
        source: a path, `python-stdlib`, or `org/name`, `org/name:config`, `org/name:config/split` (split: train).

    Raises:
        InputError: a file of unknown kind, or a folder without any supported file.
        SourceError: nothing of this name.
    """
    if str(source) == EMBEDDED:
        return TextSource("embedded", EMBEDDED)
    path = Path(source)
    try:
        path.is_dir()
    except OSError as error:
        raise SourceError(
            f"{str(source)[:60]!r}…: no name of a file, folder or hub dataset ({error.strerror}); write texts to a file and name that, "
            "or give them to train(texts=…)"
        ) from None
    if path.is_dir():
        return TextSource("folder", str(source), _files_below(path))
    if path.is_file():
        if format_of(path) is None:
            raise InputError(f"{path}: unknown kind of file; expected one of {', '.join(FORMATS)}, each also with .gz")
        return TextSource("file", str(source), (path,))
    match = _HUB_ID.fullmatch(str(source))
    if isinstance(source, Path) or match is None or format_of(path) is not None:
        raise SourceError(
            f"{source}: no such file or folder; expected a path, {EMBEDDED}, or a hub dataset as org/name:config/split"
        )
    return TextSource("hub", match["name"], config=match["config"], split=match["split"] or "train")


def _files_below(folder: Path) -> tuple[Path, ...]:
    files: list[Path] = []
    skipped: list[str] = []
    for parent, folders, names in os.walk(folder):
        skipped += [(Path(parent) / name).relative_to(folder).as_posix() + "/" for name in folders if name.startswith(".")]
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent) / name
            hidden = name.startswith(".") or name.split(".")[0].lower() in _NOT_DATA
            if hidden or format_of(path) is None:
                skipped.append(path.relative_to(folder).as_posix())
            else:
                files.append(path)
    if skipped:
        log.info("%s: skipped %s", folder, ", ".join(sorted(skipped)))
    if not files:
        raise InputError(f"{folder}: no file with texts in this folder; expected {', '.join(FORMATS)}, each also with .gz")
    # not the file system's order: the same folder gives the same texts on every machine
    return tuple(sorted(files, key=lambda path: path.relative_to(folder).parts))


def iter_hub_rows(source: TextSource, *, streaming: bool = False) -> Iterator[Row]:
    """Yield (row number from 1, columns) of a hub dataset's split.

    Args:
        source: a source of kind "hub".
        streaming: read row by row over the network instead of fetching the whole split into the cache first.

    Raises:
        SourceError: the dataset, its configuration or its split cannot be had; the message holds the reason.
    """
    import datasets

    rows: Any
    number = 0
    # `datasets` lets errors of four libraries through (its own, huggingface_hub's, httpx's, fsspec's); all mean "cannot be had"
    try:
        rows = iter(datasets.load_dataset(source.name, source.config, split=source.split, streaming=streaming))
    except Exception as error:
        raise _unreachable(source, number, error) from error
    while True:
        try:
            row = next(rows, None)
        except Exception as error:
            raise _unreachable(source, number, error) from error
        if row is None:
            return
        number += 1
        yield number, row


def _unreachable(source: TextSource, row: int, error: Exception) -> SourceError:
    lines = str(error).strip().splitlines()
    reason = lines[0] if lines else type(error).__name__
    where = f" after row {row}" if row else ""
    return SourceError(
        f"{source.label}: no such file or folder here, and the hub dataset could not be read{where} ({reason}); "
        "check the name and the network, or download the files and give their path"
    )
