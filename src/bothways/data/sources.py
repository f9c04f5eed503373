"""What the name of a text source means: a file, a folder, a hub dataset or the embedded text.

Apart from the readers because provenance (`fingerprint.describe`) asks the same question without reading a single text.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bothways.data.formats.compressed import plain_name
from bothways.data.formats.shards import check_complete, in_order
from bothways.data.retrieval_folder import retrieval_folder
from bothways.data.rows import FORMATS, UNREAD, Row, format_of, unknown_format
from bothways.data.splits import current_snapshot, is_held_out
from bothways.errors import InputError, SourceError

log = logging.getLogger("bothways")

EMBEDDED = "python-stdlib"
_HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+|[A-Za-z][\w-]*(?=:))(:(?P<config>[^:/]+)(/(?P<split>[^:/]+))?)?")
_BARE = re.compile(r"[A-Za-z][\w-]*")
#: Data sets of the methods' papers whose links name no owner, with a configuration and split to train on.
OWNERLESS = {
    "kor_nli": "snli/train",
    "snli": "plain_text/train",
    "multi_nli": "default/train",
    "wikitext": "wikitext-103-raw-v1/train",
    "glue": "mnli/train",
    "squad": "plain_text/train",
}
# stems of files that describe a folder rather than belong to it
_NOT_DATA = {"readme", "license", "licence", "dataset_info", "dataset_infos", "dataset_dict"}
_CACHED = re.compile(r"(cache|tmp)-?[0-9a-z_]+\.arrow")  # what `datasets` keeps of map and filter beside the data itself

#: Which files of a folder are read. "training" leaves held-out splits out; "held_out" takes them alone when there are any.
Splits = Literal["training", "held_out", "all"]


@dataclass(frozen=True)
class TextSource:
    """A resolved source. `files` is empty for hub and embedded sources; `name`, `config`, `split` matter for the hub.

    `left_out` are files of a folder that would have been read, but belong to another split than was asked for.
    """

    kind: Literal["file", "folder", "hub", "embedded"]
    name: str
    files: tuple[Path, ...] = ()
    config: str | None = None
    split: str = "train"
    left_out: tuple[Path, ...] = ()

    @property
    def label(self) -> str:
        """How messages name the source."""
        return self.name if self.kind != "hub" else f"{self.name}:{self.config or 'default'}/{self.split}"


def resolve_texts(source: str | Path, *, splits: Splits = "training") -> TextSource:
    """Tell what `source` names; an existing path wins over a hub dataset of the same name.

    Args:
        source: a path, `python-stdlib`, or `org/name`, `org/name:config`, `org/name:config/split` (split: train).
        splits: which files of a folder are wanted. A file that is named itself is always read.

    Raises:
        InputError: an empty name, a file of unknown kind, or a folder without any file that is wanted or without one of its shards.
        SourceError: nothing of this name.
    """
    if not str(source).strip():
        raise InputError("source: the name is empty; give a file, a folder, a hub dataset or python-stdlib")
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
        files, left_out = _files_below(path, splits)
        return TextSource("folder", str(source), files, left_out=left_out)
    if path.is_file():
        if format_of(path) is None:
            raise unknown_format(path)
        return TextSource("file", str(source), (path,))
    match = _HUB_ID.fullmatch(str(source))
    if isinstance(source, Path) or match is None or format_of(path) is not None:
        raise SourceError(f"{source}: no such file or folder; {_meant(str(source))}")
    return TextSource("hub", match["name"], config=match["config"], split=match["split"] or "train")


def _meant(name: str) -> str:
    """What to type for a name that is neither a file nor a hub dataset."""
    bare = name.rstrip("/:").lower()
    if bare in OWNERLESS:
        return f"for the hub's data set of this name write {bare}:{OWNERLESS[bare]}"
    if _BARE.fullmatch(name):
        return (
            f"expected a path, {EMBEDDED}, or a hub dataset: org/name:config/split, or {name}:config/split if it has no owner"
        )
    return f"expected a path, {EMBEDDED}, or a hub dataset as org/name:config/split"


def _files_below(folder: Path, splits: Splits) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The files of a folder that are wanted, and those of other splits."""
    files: list[Path] = []
    skipped: list[str] = []
    unread: list[str] = []
    for parent, folders, names in os.walk(current_snapshot(folder)):
        skipped += [(Path(parent) / name).relative_to(folder).as_posix() + "/" for name in folders if name.startswith(".")]
        folders[:] = [name for name in folders if not name.startswith(".")]
        wanted = _saved(Path(parent), names)
        for name in names:
            path = Path(parent) / name
            hidden = name.startswith(".") or name.split(".")[0].lower() in _NOT_DATA or _CACHED.fullmatch(name.lower())
            if hidden or format_of(path) is None or (wanted is not None and name not in wanted):
                skipped.append(path.relative_to(folder).as_posix())
                if not hidden and Path(plain_name(name)).suffix in UNREAD:
                    unread.append(skipped[-1])
            else:
                files.append(path)
    if skipped:
        log.info("%s: skipped %s", folder, ", ".join(sorted(skipped)))
    if not files:
        raise (
            unknown_format(folder / sorted(unread)[0])
            if unread
            else InputError(f"{folder}: no file with texts in this folder; expected {', '.join(FORMATS)}, plain or compressed")
        )
    if unread:
        log.warning("%s: data that is not read: %s", folder, ", ".join(sorted(unread)))
    # not the file system's order: the same folder gives the same texts on every machine
    chosen, left_out = _chosen(folder, in_order(files), splits)
    check_complete(chosen)
    return chosen, left_out


def _chosen(folder: Path, files: list[Path], splits: Splits) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    judged = _judgements(folder)
    if judged is not None and splits == "training":
        judgements, held = judged
        files = [path for path in files if path not in judgements]
        out = [path for path in files if path in held or is_held_out(path.relative_to(folder))]
    else:
        out = [path for path in files if is_held_out(path.relative_to(folder))]
    if splits == "all" or (splits == "held_out" and not out):
        return tuple(files), ()
    kept = [path for path in files if path not in out]
    if splits == "held_out":
        return tuple(out), tuple(kept)
    if not kept:
        names = ", ".join(path.relative_to(folder).as_posix() for path in out[:3])
        raise InputError(
            f"{folder}: holds test and validation data alone ({names}), which training does not read; name the file itself to read it"
        )
    return tuple(kept), tuple(out)


def _judgements(folder: Path) -> tuple[set[Path], set[Path]] | None:
    """Of a retrieval folder, the files of judgements, and its queries if some of them are judged in test or dev; None for others."""
    found = retrieval_folder(folder)
    if found is None:
        return None
    judgements = set(found.judgements)
    return judgements, set(found.queries) if any(is_held_out(path.name) for path in judgements) else set()


def _saved(folder: Path, names: list[str]) -> set[str] | None:
    """The files of a folder that `datasets` saved (`save_to_disk`), as its state.json lists them; None for other folders."""
    if not {"state.json", "dataset_info.json"} <= set(names):
        return None
    try:
        state: Any = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        listed = {str(each["filename"]) for each in state["_data_files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{folder / 'state.json'}: not what save_to_disk writes; save the data set again") from None
    missing = sorted(listed - set(names))
    if missing:
        raise InputError(f"{folder / missing[0]}: no such file, which state.json lists; fetch it, or save the data set again")
    return listed


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
    first = source.name.split("/")[0].lower()
    named = (
        f"write {first}:{OWNERLESS[first]}, since its name has no owner; or "
        if first in OWNERLESS and "/" in source.name
        else ""
    )
    return SourceError(
        f"{source.label}: no such file or folder here, and the hub dataset could not be read{where} ({reason}); "
        f"{named}check the name and the network, or download the files and give their path"
    )
