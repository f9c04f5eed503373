"""Folders of retrieval collections: BEIR's layout, and MTEB's layout on the hub.

    BEIR    corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv
    MTEB    corpus/corpus-00000-of-00002.parquet …, queries/queries-….parquet, and judgments in
            qrels/, default/ or data/
    MTEB in several languages    en-corpus/, en-queries/, en-qrels/, de-corpus/ …

If README.md states configurations of these names, their files are read (`data/dataset_card.py`).
Each file may have any format and compression, and may be cut into shards. If a corpus or queries
have several splits, those of the split that you ask for are read, as mteb does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bothways.data.dataset_card import SplitFiles, stated_configs
from bothways.data.formats.compressed import COMPRESSIONS, plain_name
from bothways.data.formats.shard_names import check_complete, in_order, stem_of
from bothways.data.rows import FORMATS, format_of, iter_rows
from bothways.data.splits import current_snapshot
from bothways.errors import InputError

_TABLES = tuple(suffix for suffix in FORMATS if suffix != ".txt")
# "data" is where `datasets` puts the configuration called "default"
_JUDGMENTS = ("qrels", "default", "data")
_QUERIES = ("queries", "query")


@dataclass(frozen=True)
class RetrievalFolder:
    """The files of a collection.

    Attributes:
        folder: the folder of the collection.
        corpus: files of documents, of all splits.
        queries: files of queries, of all splits.
        judgments: files of judgments, of all splits.
        stated: split of each file in README.md. The names of other files tell theirs.
    """

    folder: Path
    corpus: tuple[Path, ...]
    queries: tuple[Path, ...]
    judgments: tuple[Path, ...]
    stated: Mapping[Path, str] = field(default_factory=dict)

    def split_of(self, path: Path) -> str:
        """Return the split of a file, in lower case."""
        return self.stated.get(path, stem_of(path)).lower()

    def judged(self, split: str) -> tuple[Path, ...]:
        """Return the files with the judgments of a split, or none if it has none.

        Raises:
            InputError: a shard is missing.
        """
        found = tuple(path for path in self.judgments if self.split_of(path) == split.lower())
        check_complete(found)
        return found

    def of_split(self, files: tuple[Path, ...], split: str) -> tuple[Path, ...]:
        """Return the files of a split among those of `corpus` or `queries`.

        Raises:
            InputError: there are several splits and not this one, or a shard is missing.
        """
        stems = sorted({self.split_of(path) for path in files})
        if len(stems) > 1:
            if split.lower() not in stems:
                raise InputError(
                    f"{files[0].parent}: holds {', '.join(stems)}, and none of these is the split {split!r}"
                )
            files = tuple(path for path in files if self.split_of(path) == split.lower())
        check_complete(files)
        return files


def retrieval_folder(source: str | Path, subset: str | None = None) -> RetrievalFolder | None:
    """Return the collection in a folder, or None if it lacks a corpus, queries or judgments.

    Args:
        source: the folder.
        subset: which of several collections, for example "en" for `en-corpus`, `en-queries` and
            `en-qrels`. If None, the one without such a name, or else the only one. With several,
            there is none.

    Raises:
        InputError: a file that may hold judgments is broken, or README.md is.
    """
    folder = Path(source)
    if not folder.is_dir():
        return None
    folder = current_snapshot(folder)
    configs = stated_configs(folder)
    before = "" if subset is None else f"{subset}-"
    if subset is None and not _part(folder, configs, "corpus"):
        subsets = _subsets(folder, configs)
        before = f"{subsets[0]}-" if len(subsets) == 1 else ""
    corpus = _part(folder, configs, f"{before}corpus")
    queries = next(
        (files for name in _QUERIES if (files := _part(folder, configs, before + name))), ()
    )
    if not corpus or not queries:
        return None
    # A part called qrels holds judgments, another one must show it by its columns. Among stated
    # configurations mteb prefers "default".
    names = (
        [f"{before}qrels"]
        if before
        else sorted(_JUDGMENTS, key=lambda name: (name not in configs, name != "default"))
    )
    names = names if configs or before else list(_JUDGMENTS)
    places = [name for name in names if name in configs or (folder / name).is_dir()]
    judged = ((name, _judgments(folder, configs, name)) for name in places)
    judgments = next(
        (files for name, files in judged if name.endswith("qrels") or _holds_judgments(files)), None
    )
    stated = {
        path: split
        for config in configs.values()
        for split, files in config.items()
        for path in files
    }
    return (
        None if judgments is None else RetrievalFolder(folder, corpus, queries, judgments, stated)
    )


def subsets_of(folder: Path) -> list[str]:
    """List the names of a folder's subsets, for example ["de", "en"]."""
    folder = current_snapshot(folder)
    return _subsets(folder, stated_configs(folder))


def _judgments(folder: Path, configs: Mapping[str, SplitFiles], name: str) -> tuple[Path, ...]:
    return _of_config(configs[name]) if name in configs else _tables(folder / name)


def _subsets(folder: Path, configs: Mapping[str, SplitFiles]) -> list[str]:
    """List the names before `-corpus` of those that have queries too."""
    names = {*configs, *(plain_name(path.name).split(".")[0] for path in folder.iterdir())}
    found = [name.removesuffix("-corpus") for name in names if name.endswith("-corpus")]
    return sorted(
        name for name in found if name and any(f"{name}-{queries}" in names for queries in _QUERIES)
    )


def _of_config(splits: SplitFiles) -> tuple[Path, ...]:
    return tuple(path for files in splits.values() for path in files)


def corpus_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a folder's corpus, or none if it has none."""
    return _part(folder, stated_configs(folder), "corpus")


def _part(folder: Path, configs: Mapping[str, SplitFiles], name: str) -> tuple[Path, ...]:
    """Return the files of a stated configuration, or the file or the tables of that name."""
    if name in configs:
        return _of_config(configs[name])
    files = [
        folder / f"{name}{suffix}{zipped}"
        for suffix in (".jsonl", *_TABLES)
        for zipped in ("", *COMPRESSIONS)
    ]
    found = next((path for path in files if path.is_file()), None)
    return _tables(folder / name) if found is None else (found,)


def _holds_judgments(files: Sequence[Path]) -> bool:
    first = next((row for path in files[:1] for _, row in iter_rows(path)), {})
    return {"query-id", "corpus-id"} <= first.keys()


def _tables(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    return tuple(
        in_order(
            path
            for path in folder.iterdir()
            if format_of(path) in _TABLES and not path.name.startswith(".")
        )
    )
