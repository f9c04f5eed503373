"""BEIR folders (Thakur et al. 2021, arXiv 2104.08663): their files, and the judged part of them as training data.

    corpus.jsonl      {"_id", "title" (optional), "text"}; the document is title, a space, text
    queries.jsonl     {"_id", "text"}
    qrels/SPLIT.tsv   query-id, corpus-id, score, under a header line

Each file may be gzipped. Training needs the judged documents alone, so a corpus of millions is streamed and only those are kept;
`evaluation/inputs/beir_collection.py` takes the whole corpus, which it ranks.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bothways.data.labeled.labeled_row import Fields, Reading
from bothways.data.rows import find_file, iter_rows, plain_or_gzipped
from bothways.errors import InputError
from bothways.foreign import one_line

log = logging.getLogger("bothways")

_FILES = ("corpus.jsonl", "queries.jsonl")
# nine digits at most: a longer grade is damage, and Python refuses to read thousands; pandas writes 1.0 for 1
_GRADE = re.compile(r"([+-]?\d{1,9})(?:\.0+)?")
_QRELS = ("query-id", "corpus-id", "score")


@dataclass(frozen=True)
class Judged:
    """The judgements of a split and the texts they name.

    Attributes:
        grades: query id -> {document id: grade}, in the order of the file.
        queries: query id -> text, of the judged queries that queries.jsonl holds.
        documents: document id -> text, of the judged documents that the corpus holds.
    """

    grades: dict[str, dict[str, int]]
    queries: dict[str, str]
    documents: dict[str, str]


def is_beir(source: str | Path) -> bool:
    """Whether `source` is a folder in this layout."""
    folder = Path(source)
    return folder.is_dir() and (folder / "qrels").is_dir() and all(plain_or_gzipped(folder / name) for name in _FILES)


def read_judged(folder: str | Path, split: str = "train") -> Judged:
    """Read the judgements of a split and the texts they name.

    Raises:
        InputError: no such folder, file or column, a grade that is no whole number, an id that appears twice, or no judged query
            at all that queries.jsonl holds.
    """
    folder = Path(folder)
    if not is_beir(folder):
        raise InputError(f"{folder}: no BEIR folder; expected corpus.jsonl, queries.jsonl and qrels/{split}.tsv in it")
    grades = read_grades(folder, split)
    queries = read_texts(find_file(folder / "queries.jsonl"), grades, title=False)
    if not queries:
        raise InputError(f"{folder}: none of the {len(grades)} queries judged in qrels/{split}.tsv is in queries.jsonl")
    wanted = {document for judged in grades.values() for document in judged}
    return Judged(grades, queries, read_texts(find_file(folder / "corpus.jsonl"), wanted))


def judged_queries(folder: str | Path, splits: Iterable[str]) -> list[str]:
    """The queries that are judged in any of these splits, of those the folder has.

    Raises:
        InputError: the folder has none of the splits, or a broken file.
    """
    folder = Path(folder)
    there = [split for split in splits if plain_or_gzipped(folder / "qrels" / f"{split}.tsv") is not None]
    if not there:
        raise InputError(f"{folder}: qrels holds none of {', '.join(f'{split}.tsv' for split in splits)}")
    judged = {query for split in there for query in read_grades(folder, split)}
    return list(read_texts(find_file(folder / "queries.jsonl"), judged, title=False).values())


def read_grades(folder: Path, split: str) -> dict[str, dict[str, int]]:
    """{query id: {document id: grade}} of a split, in the order of the file; 0 is judged and not relevant.

    Raises:
        InputError: no such file or column, a grade that is no whole number, or no judgement.
    """
    path = find_file(folder / "qrels" / f"{split}.tsv")
    grades: dict[str, dict[str, int]] = {}
    for number, row in iter_rows(path):
        if any(name not in row for name in _QRELS):
            raise InputError(f"{path}: expected the header {', '.join(_QRELS)} (by tabs), got {', '.join(row)}")
        query, document, grade = (row[name] for name in _QRELS)
        whole = _GRADE.fullmatch(grade.strip())
        if whole is None:
            raise InputError(f"{path}, row {number}: score must be a whole number, got {one_line(repr(grade), 60)}")
        known = grades.setdefault(query, {})
        if known.setdefault(document, int(whole[1])) != int(whole[1]):
            raise InputError(
                f"{path}, row {number}: query {query!r} and document {document!r} are judged twice, {known[document]} and {whole[1]}; "
                "remove one of the rows"
            )
    if not grades:
        raise InputError(f"{path}: no judgements below the header line")
    return grades


def read_texts(path: Path, wanted: Container[str] | None = None, *, title: bool = True) -> dict[str, str]:
    """{id: text} of corpus.jsonl or queries.jsonl, of the `wanted` ids alone where they are given; with `title` the title before the text.

    Raises:
        InputError: a row without '_id' or 'text', a value of another type, or an id that appears twice.
    """
    texts: dict[str, str] = {}
    for number, key, text in iter_documents(path, wanted, title=title):
        if key in texts:
            raise InputError(f"{path}, row {number}: _id {key!r} appears a second time")
        texts[key] = text
    return texts


def iter_documents(path: Path, wanted: Container[str] | None = None, *, title: bool = True) -> Iterator[tuple[int, str, str]]:
    """(row, id, text) of the rows of a file, as they come; see `read_texts`."""
    reading = Reading(str(path), "")
    for number, row in iter_rows(path):
        fields = Fields(number, row, reading)
        key = row[fields.column("_id")]
        if not isinstance(key, (str, int)) or isinstance(key, bool):
            raise InputError(f"{fields.where}: _id is {key!r}, not a text or whole number")
        if wanted is None or str(key) in wanted:
            heading = fields.text("title") if title and row.get("title") is not None else ""
            yield number, str(key), f"{heading} {fields.text('text')}".strip()
    if reading.repaired.counts:
        log.warning("%s: %s", path, reading.repaired)
