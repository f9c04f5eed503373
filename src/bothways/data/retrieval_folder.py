"""Folders of retrieval collections: BEIR's layout, and MTEB's layout on the hub.

    BEIR    corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv
    MTEB    corpus/corpus-00000-of-00002.parquet …, queries/queries-….parquet, and judgments in
            qrels/, default/ or data/

Each file may have any format and compression, and may be cut into shards. If a corpus or queries
have several splits, those of the split that you ask for are read, as mteb does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bothways.data.formats.compressed import COMPRESSIONS
from bothways.data.formats.shards import check_complete, in_order, stem_of
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
    """

    folder: Path
    corpus: tuple[Path, ...]
    queries: tuple[Path, ...]
    judgments: tuple[Path, ...]

    def judged(self, split: str) -> tuple[Path, ...]:
        """Return the files with the judgments of a split, or none if it has none.

        Raises:
            InputError: a shard is missing.
        """
        found = tuple(path for path in self.judgments if stem_of(path) == split.lower())
        check_complete(found)
        return found

    def of_split(self, files: tuple[Path, ...], split: str) -> tuple[Path, ...]:
        """Return the files of a split among those of `corpus` or `queries`.

        Raises:
            InputError: there are several splits and not this one, or a shard is missing.
        """
        stems = sorted({stem_of(path) for path in files})
        if len(stems) > 1:
            if split.lower() not in stems:
                raise InputError(f"{files[0].parent}: holds {', '.join(stems)}, and none of these is the split {split!r}")
            files = tuple(path for path in files if stem_of(path) == split.lower())
        check_complete(files)
        return files


def retrieval_folder(source: str | Path) -> RetrievalFolder | None:
    """Return the collection in a folder, or None if it lacks a corpus, queries or judgments.

    Raises:
        InputError: a file that may hold judgments is broken.
    """
    folder = Path(source)
    if not folder.is_dir():
        return None
    folder = current_snapshot(folder)
    corpus = corpus_files(folder)
    queries = next((files for name in _QUERIES if (files := _part(folder, name))), ())
    if not corpus or not queries:
        return None
    places = [folder / name for name in _JUDGMENTS if (folder / name).is_dir()]
    # a folder called qrels holds judgments; another one must show it by its columns
    judgments = next((_tables(place) for place in places if place.name == "qrels" or _holds_judgments(place)), None)
    return None if judgments is None else RetrievalFolder(folder, corpus, queries, judgments)


def corpus_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a folder's corpus, or none if it has none."""
    return _part(folder, "corpus")


def _part(folder: Path, name: str) -> tuple[Path, ...]:
    """Return the file of a name, or the tables in the folder of that name."""
    files = [folder / f"{name}{suffix}{zipped}" for suffix in (".jsonl", *_TABLES) for zipped in ("", *COMPRESSIONS)]
    found = next((path for path in files if path.is_file()), None)
    return _tables(folder / name) if found is None else (found,)


def _holds_judgments(folder: Path) -> bool:
    first = next((row for path in _tables(folder)[:1] for _, row in iter_rows(path)), {})
    return {"query-id", "corpus-id"} <= first.keys()


def _tables(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    return tuple(in_order(path for path in folder.iterdir() if format_of(path) in _TABLES and not path.name.startswith(".")))
