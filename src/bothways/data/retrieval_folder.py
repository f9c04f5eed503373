"""Folders of retrieval collections: BEIR's, and MTEB's as the hub lays them out. Where is what?

    BEIR    corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv
    MTEB    corpus/corpus-00000-of-00002.parquet …, queries/queries-….parquet, and judgements in qrels/, default/ or data/

Any format and compression may take the place of these, and any part may be cut into shards. A corpus or queries of several splits are
read as mteb reads them: those of the split that is asked for, or the only ones there are.
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
_JUDGEMENTS = ("qrels", "default", "data")
_QUERIES = ("queries", "query")


@dataclass(frozen=True)
class RetrievalFolder:
    """The files of a collection.

    Attributes:
        folder: the whole.
        corpus: files of documents, of all splits.
        queries: files of queries, of all splits.
        judgements: files of judgements, of all splits.
    """

    folder: Path
    corpus: tuple[Path, ...]
    queries: tuple[Path, ...]
    judgements: tuple[Path, ...]

    def judged(self, split: str) -> tuple[Path, ...]:
        """The files of judgements of a split, none if it has none.

        Raises:
            InputError: a shard is missing.
        """
        found = tuple(path for path in self.judgements if stem_of(path) == split.lower())
        check_complete(found)
        return found

    def of_split(self, files: tuple[Path, ...], split: str) -> tuple[Path, ...]:
        """Of `corpus` or `queries`, the files that belong to a split.

        Raises:
            InputError: there are several splits and this is none of them, or a shard is missing.
        """
        stems = sorted({stem_of(path) for path in files})
        if len(stems) > 1:
            if split.lower() not in stems:
                raise InputError(f"{files[0].parent}: holds {', '.join(stems)}, and none of these is the split {split!r}")
            files = tuple(path for path in files if stem_of(path) == split.lower())
        check_complete(files)
        return files


def retrieval_folder(source: str | Path) -> RetrievalFolder | None:
    """The collection in a folder; None if it holds no corpus, no queries, or no place for judgements.

    Raises:
        InputError: a broken file among those that may be judgements.
    """
    folder = Path(source)
    if not folder.is_dir():
        return None
    folder = current_snapshot(folder)
    corpus = corpus_files(folder)
    queries = next((files for name in _QUERIES if (files := _part(folder, name))), ())
    if not corpus or not queries:
        return None
    places = [folder / name for name in _JUDGEMENTS if (folder / name).is_dir()]
    # a folder called qrels says what it is, whatever it holds
    judgements = next((_tables(place) for place in places if place.name == "qrels" or _holds_judgements(place)), None)
    return None if judgements is None else RetrievalFolder(folder, corpus, queries, judgements)


def corpus_files(folder: Path) -> tuple[Path, ...]:
    """The files of a folder's corpus, none if it has none."""
    return _part(folder, "corpus")


def _part(folder: Path, name: str) -> tuple[Path, ...]:
    """The file of a name, or the tables of the folder of that name."""
    files = [folder / f"{name}{suffix}{zipped}" for suffix in (".jsonl", *_TABLES) for zipped in ("", *COMPRESSIONS)]
    found = next((path for path in files if path.is_file()), None)
    return _tables(folder / name) if found is None else (found,)


def _holds_judgements(folder: Path) -> bool:
    first = next((row for path in _tables(folder)[:1] for _, row in iter_rows(path)), {})
    return {"query-id", "corpus-id"} <= first.keys()


def _tables(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    return tuple(in_order(path for path in folder.iterdir() if format_of(path) in _TABLES and not path.name.startswith(".")))
