"""Shards: the files into which one split of a dataset is cut.

    train-00000-of-00002.parquet    as `datasets` and the hub write them,
    train-00000-of-00002-4746b8785c874cc7.parquet    also with a digest
    c4-train.00000-of-01024.json.gz    the same with another separator
    test-0000.jsonl   test_1.csv    numbered, without the number of shards

If a shard is missing, files that tell their number are refused. To read only some of them, name
those files.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from bothways.data.formats.compressed import plain_name
from bothways.errors import InputError

_SHARD = re.compile(
    r"(?P<stem>.*?)[-._]?(?P<index>\d{1,9})-of-(?P<count>\d{1,9})(?:-[0-9a-f]{16})?(?P<suffix>\.[^/]*)?"
)
_NUMBERED = re.compile(r"(?P<stem>.*?[^\d])[-._](?P<index>\d{1,9})(?P<suffix>\.[a-z][^/]*)")
_SHOWN = 3  # the number of missing files that an error names


class Shard(NamedTuple):
    """The part of a split that a file holds.

    Attributes:
        stem: the part of the name before the number, for example "train".
        number: the number of the shard.
        total: the number of all shards, or None if the name does not tell.
        suffix: the suffix of the format, without that of a compression.
    """

    stem: str
    number: int
    total: int | None
    suffix: str


def shard_of(path: Path) -> Shard | None:
    """Return the shard that a file's name describes, or None if it has no number of a shard."""
    name = plain_name(path.name)
    if match := _SHARD.fullmatch(name):
        return Shard(match["stem"], int(match["index"]), int(match["count"]), match["suffix"] or "")
    if match := _NUMBERED.fullmatch(name):
        return Shard(match["stem"], int(match["index"]), None, match["suffix"])
    return None


def stem_of(path: Path) -> str:
    """Return the name of a file's split in lower case, without number, format and compression."""
    shard = shard_of(path)
    return Path(plain_name(path.name)).stem if shard is None else shard.stem


def in_order(files: Iterable[Path]) -> list[Path]:
    """Sort files by folder and name, and the shards of one split by their numbers (2 before 10)."""

    def place(path: Path) -> tuple[tuple[str, ...], int, str]:
        shard = shard_of(path)
        if shard is None or shard.total is None:
            return path.parts, 0, ""
        return (*path.parent.parts, shard.stem), shard.number, path.name

    return sorted(files, key=place)


def check_complete(files: Iterable[Path]) -> None:
    """Refuse a split of which a shard is missing.

    Files whose names do not tell how many there are, are not judged. Numbers may count from 0 or
    from 1.

    Raises:
        InputError: a shard is missing or there twice, or two of them disagree on how many there
            are. Names the files.
    """
    splits: dict[tuple[Path, str, str], list[tuple[Shard, Path]]] = {}
    for path in files:
        shard = shard_of(path)
        if shard is not None and shard.total is not None:
            splits.setdefault((path.parent, shard.stem, shard.suffix), []).append((shard, path))
    for found in splits.values():
        found.sort()
        _check_split(found)


def _check_split(found: list[tuple[Shard, Path]]) -> None:
    (first, path), (last, _) = found[0], found[-1]
    counts = {shard.total: place for shard, place in found}
    if len(counts) > 1:
        one, two = list(counts.values())[:2]
        raise InputError(
            f"{one}: belongs to another number of shards than {two.name}; keep the files of one of the two"
        )
    for (shard, place), (following, twin) in itertools.pairwise(found):
        if shard.number == following.number:
            raise InputError(
                f"{place}: shard {shard.number} is there twice, as {twin.name} too; remove one of the two files"
            )
    start = 1 if last.number == last.total else 0
    there = {shard.number for shard, _ in found}
    missing = sorted(set(range(start, (last.total or 0) + start)) - there)
    if missing:
        name = path.name.lower()
        names = [_renumbered(name, first.number, index) for index in missing[:_SHOWN]]
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise InputError(
            f"{path.parent}: the shard {', '.join(names)}{more} of {last.total} is missing; fetch it, or name the files that are to be "
            "read without it"
        )


def _renumbered(name: str, old: int, new: int) -> str:
    match = re.search(rf"(0*{old})(?=-of-)", name)
    if match is None:
        return f"number {new}"
    renamed = f"{name[: match.start()]}{new:0{len(match[1])}d}{name[match.end() :]}"
    return re.sub(r"-[0-9a-f]{16}(?=\.)", "-…", renamed)
