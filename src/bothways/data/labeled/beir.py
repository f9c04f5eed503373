"""BEIR folders (Thakur et al. 2021, arXiv 2104.08663), and their judged part as training data.

    corpus.jsonl      {"_id", "title" (optional), "text"}. The document is title, a space, text.
    queries.jsonl     {"_id", "text"}
    qrels/SPLIT.tsv   query-id, corpus-id, score, under a header line

`bothways.data.retrieval_folder` finds the files, which may be compressed, in another format, in
shards, or in folders as MTEB's collections are on the hub.

Training needs only the judged documents. A corpus of millions is streamed, and only those are kept.
Evaluation ranks the whole corpus, which `evaluation/inputs/beir_collection.py` reads.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bothways.data.labeled.labeled_row import Fields, Reading
from bothways.data.retrieval_folder import RetrievalFolder, retrieval_folder, subsets_of
from bothways.data.rows import iter_rows
from bothways.errors import InputError
from bothways.foreign import one_line
from bothways.moved import old_names

log = logging.getLogger("bothways")

# a grade of more than nine digits is damage; pandas writes 1.0 for 1
_GRADE = re.compile(r"([+-]?\d{1,9})(?:\.0+)?")
_QRELS = ("query-id", "corpus-id", "score")


@dataclass(frozen=True)
class JudgedSplit:
    """The judgments of a split and the texts they name.

    Attributes:
        grades: query id -> {document id: grade}, in the order of the file.
        queries: query id -> text, of the judged queries that queries.jsonl holds.
        documents: document id -> text, of the judged documents that the corpus holds.
    """

    grades: dict[str, dict[str, int]]
    queries: dict[str, str]
    documents: dict[str, str]


def is_beir(source: str | Path) -> bool:
    """Return whether `source` is a folder in this layout."""
    return retrieval_folder(source) is not None


def collection_files(folder: str | Path, split: str, subset: str | None = None) -> RetrievalFolder:
    """Return the files of a collection; see `retrieval_folder`.

    Raises:
        InputError: the folder does not have this layout.
    """
    found = retrieval_folder(folder, subset)
    subsets = subsets_of(Path(folder)) if found is None and Path(folder).is_dir() else []
    if subsets:
        wrong = "holds several subsets" if subset is None else f"has no whole subset {subset!r}"
        raise InputError(
            f"{folder}: {wrong}; choose one as {Path(folder) / subsets[0]}, there are: {', '.join(subsets)}"
        )
    if found is None:
        raise InputError(
            f"{folder}: not a BEIR folder; it must hold corpus.jsonl, queries.jsonl and "
            f"qrels/{split}.tsv, or MTEB's folders corpus, queries and qrels of Parquet files"
        )
    return found


def read_judged(folder: str | Path, split: str = "train") -> JudgedSplit:
    """Read the judgments of a split and the texts they name.

    Raises:
        InputError: the folder, a file or a column is missing, a grade is not a whole number, an id
            appears twice, or queries.jsonl holds none of the judged queries.
    """
    files = collection_files(folder, split)
    grades = read_grades(files, split)
    queries = read_texts_by_id(files.of_split(files.queries, split), grades, title=False)
    if not queries:
        judged_in, held_in = _shown(files, files.judged(split)), _shown(files, files.queries)
        raise InputError(
            f"{folder}: none of the {len(grades)} queries judged in {judged_in} is in {held_in}"
        )
    wanted = {document for judged in grades.values() for document in judged}
    return JudgedSplit(
        grades, queries, read_texts_by_id(files.of_split(files.corpus, split), wanted)
    )


def _shown(files: RetrievalFolder, paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0].relative_to(files.folder).as_posix()}{more}"


def judged_queries(folder: str | Path, splits: Iterable[str]) -> list[str]:
    """Return the queries that any of these splits judges. Splits that the folder lacks are skipped.

    Raises:
        InputError: the folder has none of the splits, or a file is broken.
    """
    splits = list(splits)
    files = collection_files(folder, splits[0])
    there = [split for split in splits if files.judged(split)]
    if not there:
        raise InputError(
            f"{folder}: qrels holds none of {', '.join(f'{split}.tsv' for split in splits)}"
        )
    texts: dict[str, str] = {}
    for split in there:
        texts |= read_texts_by_id(
            files.of_split(files.queries, split), read_grades(files, split), title=False
        )
    return list(texts.values())


def read_grades(files: RetrievalFolder, split: str) -> dict[str, dict[str, int]]:
    """Return {query id: {document id: grade}} of a split, in the order of the files.

    Grade 0 means judged and not relevant.

    Raises:
        InputError: the split or a column or a shard is missing, a grade is not a whole number, or
            there is no judgment.
    """
    paths = files.judged(split)
    if not paths:
        there = ", ".join(dict.fromkeys(path.name for path in files.judgments)) or "none"
        raise InputError(
            f"{files.folder / 'qrels' / f'{split}.tsv'}: no such file, gzipped or not; the files of judgments are: {there}"
        )
    grades: dict[str, dict[str, int]] = {}
    for path in paths:
        for number, row in iter_rows(path):
            if any(name not in row for name in _QRELS):
                how = " (by tabs)" if ".tsv" in path.name else ""
                raise InputError(
                    f"{path}: expected the header {', '.join(_QRELS)}{how}, got {', '.join(row)}"
                )
            _add_grade(grades, f"{path}, row {number}", *(row[name] for name in _QRELS))
    if not grades:
        raise InputError(f"{paths[0]}: no judgments below the header line")
    return grades


def _add_grade(
    grades: dict[str, dict[str, int]], where: str, query: object, document: object, grade: object
) -> None:
    query, document = _id(where, "query-id", query), _id(where, "corpus-id", document)
    whole = None if isinstance(grade, bool) else _GRADE.fullmatch(str(grade).strip())
    if whole is None:
        raise InputError(f"{where}: score must be a whole number, got {one_line(repr(grade), 60)}")
    known = grades.setdefault(query, {})
    if known.setdefault(document, int(whole[1])) != int(whole[1]):
        raise InputError(
            f"{where}: query {query!r} and document {document!r} are judged twice, {known[document]} and {whole[1]}; "
            "remove one of the rows"
        )


def _id(where: str, name: str, value: object) -> str:
    """Return an id as text. Columnar tables hold whole numbers."""
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise InputError(f"{where}: {name} is {value!r}, not a text or whole number")
    return str(value)


def read_texts_by_id(
    files: Sequence[Path], wanted: Container[str] | None = None, *, title: bool = True
) -> dict[str, str]:
    """Return {id: text} of a corpus or of queries.

    Args:
        files: the files of the corpus or of the queries.
        wanted: the ids to keep. If None, keep all.
        title: put the title and a space before the text.

    Raises:
        InputError: a row lacks '_id' (or 'id') or 'text', a value has another type, or an id
            appears twice.
    """
    texts: dict[str, str] = {}
    for path in files:
        for number, key, text in _documents(path, wanted, title=title):
            if key in texts:
                raise InputError(f"{path}, row {number}: _id {key!r} appears a second time")
            texts[key] = text
    return texts


def _documents(
    path: Path, wanted: Container[str] | None, *, title: bool
) -> Iterator[tuple[int, str, str]]:
    """Yield (row, id, text) of the rows of a file; see `read_texts`."""
    reading = Reading(str(path), "")
    for number, row in iter_rows(path):
        fields = Fields(number, row, reading)
        name = fields.column("_id", "id")
        key = _id(fields.where, name, row[name])
        if wanted is None or key in wanted:
            heading = fields.text("title") if title and row.get("title") is not None else ""
            yield number, key, f"{heading} {fields.text('text')}".strip()
    if reading.repaired.counts:
        log.warning("%s: %s", path, reading.repaired)


__getattr__ = old_names(__name__)
