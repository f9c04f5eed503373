"""The table of one split: a file, or the shards of a split, read one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bothways.data.dataset_card import stated_configs
from bothways.data.formats.compressed import COMPRESSIONS
from bothways.data.formats.shard_names import check_complete, in_order, shard_of
from bothways.data.rows import FORMATS, format_of, is_table, iter_rows
from bothways.data.splits import current_snapshot
from bothways.data.text_sources import resolve_texts
from bothways.errors import InputError, SourceError

_PLACES = (".", "data", "default")


@dataclass(frozen=True)
class SplitTable:
    """Rows of one split.

    Attributes:
        files: one file, or all shards in order.
        name: name of the whole for messages.
    """

    files: tuple[Path, ...]
    name: str

    @property
    def cells(self) -> bool:
        """Return whether values are cells of a text table, in which a list is written as text."""
        return is_table(self.files[0])

    def rows(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield each row with its place, "FILE, row N", for messages."""
        for path in self.files:
            for number, row in iter_rows(path):
                yield f"{path}, row {number}", row

    def first(self) -> tuple[str, Mapping[str, Any]]:
        """Return the first row and its place. Its columns are those of the table.

        Raises:
            InputError: if the table is empty or broken.
        """
        for found in self.rows():
            return found
        raise InputError(f"{self.name} is empty")


def open_split(source: str | Path, split: str) -> SplitTable:
    """Find the table of `split` in a folder. A file is a table itself.

    For example, `open_split("stsb", "dev")` opens stsb/dev.tsv.

    Raises:
        InputError: see `split_files`.
        SourceError: if the file or folder does not exist.
    """
    path = Path(source)
    if path.is_dir():
        files = split_files(path, split)
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        return SplitTable(files, f"{files[0]}{more}")
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder")
    return SplitTable((path,), str(path))


def split_files(folder: Path, split: str) -> tuple[Path, ...]:
    """Return the files of `split` in a folder: one file, or its shards in order.

    They may have any format and compression. A split is `test.csv`, `test-00000-of-00002.parquet`
    and so on, or a folder `test` of files. Each may be in the folder itself, in `data` or in
    `default`, as data sets are downloaded and saved.

    Raises:
        InputError: if the folder does not have the split, or has it twice, or if a shard is
            missing.
    """
    found = _splits(folder, split)
    if len(found) == 1:
        check_complete(found[0])
        return found[0]
    if found:
        one, two = (_below(folder, files) for files in found[:2])
        raise InputError(f"{folder} has both {one} and {two}; name the file itself")
    there = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_file())) or "none"
    raise InputError(
        f"{folder}: no {split}.jsonl or {split} in another format; choose one with split=NAME, the files are: {there}"
    )


def has_split(folder: Path, split: str) -> bool:
    """Return whether a folder has files of a split."""
    return bool(_splits(folder, split))


def _splits(folder: Path, split: str) -> list[tuple[Path, ...]]:
    """Return each set of files that a split may be.

    What README.md states comes first. Otherwise plain files come before shards, and those before
    folders.
    """
    configs = stated_configs(current_snapshot(folder))
    own = configs.get("default") or (next(iter(configs.values())) if len(configs) == 1 else {})
    if split in own:
        return [own[split]]
    places = [current_snapshot(folder) / place for place in _PLACES]
    names = [f"{split}{suffix}{zipped}" for suffix in FORMATS for zipped in ("", *COMPRESSIONS)]
    if plain := [(path,) for path in (places[0] / name for name in names) if path.is_file()]:
        return [*plain]
    shards: dict[tuple[Path, str], list[Path]] = {}
    for place in (place for place in places if place.is_dir()):
        for path in place.iterdir():
            shard = shard_of(path)
            plain_file = shard is None and path.name in names and place is not places[0]
            if plain_file or (
                shard is not None and _is_of(shard.stem, split) and format_of(path) is not None
            ):
                shards.setdefault((place, "" if shard is None else shard.suffix), []).append(path)
    if shards:
        return [tuple(in_order(files)) for files in shards.values()]
    folders = [place / split for place in places if (place / split).is_dir()]
    return [resolve_texts(place, splits="all").files for place in folders]


def _is_of(stem: str, split: str) -> bool:
    """Return whether a shard's name is that of a split, or ends with it as `c4-test` does."""
    split = split.lower()
    return stem == split or (
        len(stem) > len(split) and stem.endswith(split) and stem[-len(split) - 1] in "-._"
    )


def _below(folder: Path, files: tuple[Path, ...]) -> str:
    return files[0].relative_to(folder).as_posix()
