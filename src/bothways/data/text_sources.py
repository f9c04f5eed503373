"""Names of text sources: a file, a folder, a hub dataset or the embedded text.

Readers and provenance (`fingerprint.describe_texts`) resolve names in the same way.
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
from bothways.data.formats.partitions import refuse_table_format
from bothways.data.formats.shard_names import check_complete, in_order
from bothways.data.formats.twins import without_twins
from bothways.data.outputs import is_output
from bothways.data.retrieval_folder import retrieval_folder
from bothways.data.rows import FORMATS, UNREAD, Row, format_of, unknown_format
from bothways.data.splits import current_snapshot, is_held_out
from bothways.errors import InputError, SourceError

log = logging.getLogger("bothways")

EMBEDDED = "python-stdlib"
EMBEDDED_NAMES = "python-stdlib:names"
"""Pairs of names and comments with their code, see `data.embedded.stdlib_names`."""
_HUB_ID = re.compile(
    r"(?P<name>[\w.-]+/[\w.-]+|[A-Za-z][\w-]*(?=:))(:(?P<config>[^:/]+)(/(?P<split>[^:/]+))?)?"
)
_BARE = re.compile(r"[A-Za-z][\w-]*")
OWNERLESS = {
    "kor_nli": "snli/train",
    "snli": "plain_text/train",
    "multi_nli": "default/train",
    "wikitext": "wikitext-103-raw-v1/train",
    "glue": "mnli/train",
    "squad": "plain_text/train",
}
"""Datasets of the methods' papers that have no owner in their name, with a split to train on."""

# stems of files that describe a folder
_NOT_DATA = {"readme", "license", "licence", "dataset_info", "dataset_infos", "dataset_dict"}
_CACHED = re.compile(r"(cache|tmp)-?[0-9a-z_]+\.arrow")  # results of map and filter of `datasets`

_HIDDEN = (".", "_")
"""Beginnings of names of folders that are not read, as in Spark: _temporary, _spark_metadata."""

Splits = Literal["training", "held_out", "all"]
"""Which files of a folder are read.

"training" leaves held-out splits out. "held_out" takes only them, if there are any.
"""


@dataclass(frozen=True)
class TextSource:
    """A resolved source.

    Attributes:
        kind: the kind of source.
        name: the name that was given. For a hub dataset, its name without configuration and split.
        files: the files to read. Empty for hub and embedded sources.
        config: the configuration of a hub dataset, or None for its default.
        split: the split of a hub dataset.
        left_out: files of a folder that belong to another split than was asked for.
    """

    kind: Literal["file", "folder", "hub", "embedded"]
    name: str
    files: tuple[Path, ...] = ()
    config: str | None = None
    split: str = "train"
    left_out: tuple[Path, ...] = ()

    @property
    def label(self) -> str:
        """The name of the source in messages."""
        return (
            self.name
            if self.kind != "hub"
            else f"{self.name}:{self.config or 'default'}/{self.split}"
        )


def resolve_texts(source: str | Path, *, splits: Splits = "training") -> TextSource:
    """Return the source that a name stands for. An existing path wins over a hub dataset.

    For example, resolve_texts("org/name:en/test") is the split "test" of a hub dataset.

    Args:
        source: a path, `python-stdlib`, `org/name`, `org/name:config` or `org/name:config/split`.
            The default split is "train".
        splits: the files of a folder to read. A file that you name is always read.

    Raises:
        InputError: an empty name, a file of unknown kind, or a folder without a wanted file or with
            a missing shard.
        SourceError: nothing has this name.
    """
    if not str(source).strip():
        raise InputError(
            "source: the name is empty; give a file, a folder, a hub dataset or python-stdlib"
        )
    if str(source) in (EMBEDDED, EMBEDDED_NAMES):
        return TextSource("embedded", str(source))
    path = Path(source)
    try:
        path.is_dir()
    except OSError as error:
        raise SourceError(
            f"{str(source)[:60]!r}…: not the name of a file, folder or hub dataset "
            f"({error.strerror}); write texts to a file and name it, or give them to train(texts=…)"
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
    """Return the advice for a name that is neither a file nor a hub dataset."""
    bare = name.rstrip("/:").lower()
    if bare in OWNERLESS:
        return f"for the hub's data set of this name write {bare}:{OWNERLESS[bare]}"
    if _BARE.fullmatch(name):
        return f"expected a path, {EMBEDDED}, or a hub dataset: org/name:config/split, or {name}:config/split if it has no owner"
    return f"expected a path, {EMBEDDED}, or a hub dataset as org/name:config/split"


def _files_below(folder: Path, splits: Splits) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the files of a folder to read, and those of other splits."""
    files: list[Path] = []
    skipped: list[str] = []
    unread: list[str] = []
    for parent, folders, names in os.walk(current_snapshot(folder)):
        refuse_table_format(Path(parent), folders, names)
        skipped += [
            (Path(parent) / name).relative_to(folder).as_posix() + "/"
            for name in folders
            if _is_left_out(Path(parent) / name)
        ]
        folders[:] = [name for name in folders if not _is_left_out(Path(parent) / name)]
        wanted = _saved(Path(parent), names)
        for name in names:
            path = Path(parent) / name
            hidden = (
                name.startswith(".")
                or name.split(".")[0].lower() in _NOT_DATA
                or _CACHED.fullmatch(name.lower())
            )
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
            else InputError(
                f"{folder}: no file with texts in this folder; expected {', '.join(FORMATS)}, plain or compressed"
            )
        )
    if unread:
        log.warning("%s: data that is not read: %s", folder, ", ".join(sorted(unread)))
    files, twins = without_twins(files)
    for path, kept in sorted(twins):
        log.warning(
            "%s: not read, because %s has the same name; name the file itself to read it",
            path,
            kept.name,
        )
    # sorted, so that a folder gives the same texts on every machine
    chosen, left_out = _chosen(folder, in_order(files), splits)
    check_complete(chosen)
    return chosen, left_out


def _is_left_out(folder: Path) -> bool:
    return folder.name.startswith(_HIDDEN) or is_output(folder)


def _chosen(
    folder: Path, files: list[Path], splits: Splits
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    judged = _judgments(folder)
    if judged is not None and splits == "training":
        judgments, held = judged
        files = [path for path in files if path not in judgments]
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
            f"{folder}: holds only test and validation data ({names}), which training does not read; "
            "name the file itself to read it"
        )
    return tuple(kept), tuple(out)


def _judgments(folder: Path) -> tuple[set[Path], set[Path]] | None:
    """Return a retrieval folder's files of judgments, and its queries if test or dev judge some.

    Returns None for other folders.
    """
    found = retrieval_folder(folder)
    if found is None:
        return None
    judgments = set(found.judgments)
    return judgments, set(found.queries) if any(
        is_held_out(path.name) for path in judgments
    ) else set()


def _saved(folder: Path, names: list[str]) -> set[str] | None:
    """Return the files of a folder that `save_to_disk` wrote, or None for other folders.

    Its state.json lists them.
    """
    if not {"state.json", "dataset_info.json"} <= set(names):
        return None
    try:
        state: Any = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        listed = {str(each["filename"]) for each in state["_data_files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{folder / 'state.json'}: not written by save_to_disk; save the dataset again"
        ) from None
    missing = sorted(listed - set(names))
    if missing:
        raise InputError(
            f"{folder / missing[0]}: no such file, which state.json lists; fetch it, or save the data set again"
        )
    return listed


def iter_hub_rows(
    source: TextSource, *, streaming: bool = False, shard: tuple[int, int] | None = None
) -> Iterator[Row]:
    """Yield (row number from 1, columns) of a hub dataset's split.

    Args:
        source: a source of kind "hub".
        streaming: read row by row over the network. If False, fetch the whole split into the cache.
        shard: (k, n) reads shard k of n, from 0, with `streaming`. If None, read all rows.

    Raises:
        SourceError: the dataset, its configuration or its split cannot be read. Names the reason.
    """
    rows: Any
    number = 0
    # `datasets` passes on errors of huggingface_hub, httpx and fsspec as well as its own
    try:
        dataset = _load_hub(source, streaming=streaming)
        rows = iter(
            dataset if shard is None else dataset.shard(num_shards=shard[1], index=shard[0])
        )
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


def hub_shard_count(source: TextSource) -> int:
    """Return the number of shards of a hub dataset's split, which is usually that of its files.

    Raises:
        SourceError: the dataset, its configuration or its split cannot be read.
    """
    try:
        return int(_load_hub(source, streaming=True).num_shards)
    except Exception as error:
        raise _unreachable(source, 0, error) from error


def hub_revision(source: TextSource) -> str:
    """Return the commit of a hub dataset that is read now (40 hex digits).

    Raises:
        SourceError: the dataset cannot be found or reached.
    """
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(source.name).sha)
    except Exception as error:
        raise _unreachable(source, 0, error) from error


def _load_hub(source: TextSource, *, streaming: bool) -> Any:
    import datasets

    return datasets.load_dataset(
        source.name, source.config, split=source.split, streaming=streaming
    )


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
