"""Files of a folder that hold one table twice, in two formats.

    train.parquet    train.jsonl
    train.jsonl      train.jsonl.gz

Both have the name of one split, so reading both would give every row twice. `datasets` reads one
format of a folder and prefers Parquet, then JSON lines. Here only files of the same name are
judged, because a folder may well hold different texts in several formats.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bothways.data.formats.compressed import compression_of

_ORDER = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".arrow")


def without_twins(files: Iterable[Path]) -> tuple[list[Path], list[tuple[Path, Path]]]:
    """Keep one of several files that differ only in format or compression.

    Returns:
        The files that are kept, in their order, and pairs of a file left out and the one kept.
    """
    listed = list(files)
    best: dict[Path, Path] = {}
    for path in listed:
        place = path.parent / _plain(path).stem
        best[place] = min(best.get(place, path), path, key=_rank)
    chosen = set(best.values())
    return [path for path in listed if path in chosen], [
        (path, best[path.parent / _plain(path).stem]) for path in listed if path not in chosen
    ]


def _plain(path: Path) -> Path:
    """Return the name of a file without its compression. Its case is kept."""
    return Path(path.name[: len(path.name) - len(compression_of(path) or "")])


def _rank(path: Path) -> tuple[int, bool, str]:
    suffix = _plain(path).suffix.lower()
    order = _ORDER.index(suffix) if suffix in _ORDER else len(_ORDER)
    return order, compression_of(path) is not None, path.name
