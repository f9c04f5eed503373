"""Held-out files and rows of a dataset (test, validation), which training may not read.

A published folder has its splits next to each other (`data/train-00000-of-00001.parquet`,
`data/test-…`, `dev.jsonl`), and a table may have a column that names the split of each row. The
words are those by which `datasets` finds the splits of a folder
(datasets.data_files.SPLIT_KEYWORDS), and other usual names of held-out sets.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any

from bothways.data.formats.compressed import plain_name
from bothways.data.formats.delimited import Row
from bothways.errors import InputError

log = logging.getLogger("bothways")

_TRAINING = {"train", "training", "trainset", "trn"}
_HELD_OUT = {
    *(
        "test",
        "tests",
        "testing",
        "testset",
        "dev",
        "devset",
        "development",
        "val",
        "valid",
        "validation",
        "valset",
    ),
    *("eval", "evaluation", "evalset", "heldout", "holdout"),
}
SPLIT_COLUMNS = ("split", "data_split", "dataset_split", "partition", "set", "subset")
"""Columns that may name the split of a row."""

_SHOWN = 5  # the number of files that a warning names


def current_snapshot(folder: Path) -> Path:
    """Return the current revision of a dataset in the hub's cache, or the folder itself.

    In the cache a dataset's folder holds refs/ and snapshots/REVISION/.
    """
    snapshots = folder / "snapshots"
    if not snapshots.is_dir() or not (folder / "blobs").is_dir():
        return folder
    main = folder / "refs" / "main"
    current = snapshots / main.read_text(encoding="utf-8").strip() if main.is_file() else None
    if current is not None and current.is_dir():
        return current
    there = sorted(path for path in snapshots.iterdir() if path.is_dir())
    if len(there) != 1:
        raise InputError(
            f"{folder}: holds {len(there)} snapshots; name one of those below {snapshots}"
        )
    return there[0]


def is_held_out(path: str | PurePath) -> bool:
    """Return whether a file belongs to a held-out split, by its path below the named folder.

    The name nearest to the file decides: `test/train.jsonl` is training data, `train/dev.jsonl` is
    not. A name that has both kinds of words (`train_test.jsonl`) is training data.
    """
    *parents, name = PurePath(path).parts
    for part in (PurePath(plain_name(name)).stem, *reversed(parents)):
        key, partition, _ = part.partition("=")
        if partition and key not in SPLIT_COLUMNS:  # a class may have such a name: label=test
            continue
        words = _words(part)
        if words & _TRAINING:
            return False
        if words & _HELD_OUT:
            return True
    return False


def _words(name: str) -> set[str]:
    found = re.findall(r"[a-z]+", name.lower())
    return {*found, *(f"{one}{two}" for one, two in itertools.pairwise(found) if two == "out")}


def warn_left_out(folder: str, files: Iterable[Path]) -> None:
    """Log which files of a folder were not read because they are held out."""
    names = [path.relative_to(folder).as_posix() for path in files]
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        log.warning(
            "%s: left out %s%s, which test and validation hold out of training; name a file itself to read it",
            folder,
            ", ".join(names[:_SHOWN]),
            more,
        )


def split_columns(names: Iterable[str]) -> list[str]:
    """Return the columns that may name the split of a row."""
    names = list(names)
    return [name for name in SPLIT_COLUMNS if name in names]


def training_rows(label: str, rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows that no column puts into a held-out split. Count the others and log the count.

    If the name of the file says that it is held out, you have named it yourself, and all its rows
    are yielded.

    Raises:
        InputError: every row is held out.
    """
    if is_held_out(PurePath(label).name):
        yield from rows
        return
    kept = gone = first = 0
    named: tuple[str, Any] = ("", "")
    try:
        for number, row in rows:
            found = next(
                (
                    (name, row[name])
                    for name in SPLIT_COLUMNS
                    if name in row and _says_held_out(row[name])
                ),
                None,
            )
            if found is None:
                kept += 1
                yield number, row
                continue
            gone += 1
            if not first:
                first, named = number, found
    finally:
        if kept and gone:
            log.warning(
                "%s: left out %d rows of held-out splits, the first in row %d (%s %r); training does not read them",
                *(label, gone, first, *named),
            )
    if gone and not kept:
        raise InputError(
            f"{label}, row {first}: column {named[0]!r} says {named[1]!r}, and so do all {gone} rows; training does not read held-out "
            "splits, so name another file, or remove the column"
        )


def _says_held_out(value: object) -> bool:
    return isinstance(value, str) and "".join(re.findall(r"[a-z]+", value.lower())) in _HELD_OUT
