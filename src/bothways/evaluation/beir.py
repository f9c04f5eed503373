"""Read a retrieval collection in the layout of BEIR (Thakur et al. 2021, arXiv 2104.08663).

    corpus.jsonl      {"_id", "title" (optional), "text"}; the document is title, a space, text
    queries.jsonl     {"_id", "text"}; only the judged ones are used
    qrels/SPLIT.tsv   query-id, corpus-id, score, under a header line

Each file may be gzipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bothways.data.rows import iter_rows
from bothways.errors import InputError
from bothways.evaluation.data import find_file

_QRELS = ("query-id", "corpus-id", "score")


@dataclass(frozen=True)
class Collection:
    """Queries and documents by id, and how relevant is what: `{query: {document: grade}}`, 0 for judged and not relevant."""

    queries: dict[str, str]
    corpus: dict[str, str]
    qrels: dict[str, dict[str, int]]


def read_beir(folder: str | Path, split: str = "test") -> Collection:
    """Read one split of a folder.

    Raises:
        InputError: a missing file or column, an id that appears twice, a grade that is no whole number, a judged query without
            text, or judgements none of whose documents is in the corpus.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; a retrieval task needs corpus.jsonl, queries.jsonl and qrels/{split}.tsv in one"
        )
    qrels_file = find_file(folder, f"qrels/{split}.tsv")
    qrels = _read_qrels(qrels_file)
    texts = _read_texts(find_file(folder, "queries.jsonl"), with_title=False)
    corpus = _read_texts(find_file(folder, "corpus.jsonl"), with_title=True)
    unknown = next((query for query in qrels if query not in texts), None)
    if unknown is not None:
        raise InputError(f"{qrels_file}: judges query {unknown!r}, which is not in queries.jsonl")
    if not any(document in corpus for judged in qrels.values() for document in judged):
        raise InputError(
            f"{qrels_file}: none of the judged documents is in corpus.jsonl; the two belong to different collections"
        )
    return Collection({query: texts[query] for query in qrels}, corpus, qrels)


def _read_texts(path: Path, *, with_title: bool) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, row in iter_rows(path):
        where = f"{path}, row {number}"
        key, text = row.get("_id"), row.get("text")
        title = (row.get("title") or "") if with_title else ""
        if not isinstance(key, (str, int)) or not isinstance(text, str) or not isinstance(title, str):
            raise InputError(f"{where}: expected '_id' and a string 'text'; has {_shown(row)}")
        if str(key) in texts:
            raise InputError(f"{where}: _id {str(key)!r} appears a second time")
        texts[str(key)] = f"{title} {text}".strip()
    if not texts:
        raise InputError(f"{path}: is empty")
    return texts


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for number, row in iter_rows(path):
        if any(column not in row for column in _QRELS):
            raise InputError(f"{path}: expected the header {', '.join(_QRELS)} (by tabs), got {', '.join(row)}")
        query, document, grade = (row[column] for column in _QRELS)
        if not grade.removeprefix("-").isdecimal():
            raise InputError(f"{path}, row {number}: score must be a whole number, got {grade!r}")
        qrels.setdefault(query, {})[document] = int(grade)
    if not qrels:
        raise InputError(f"{path}: no judgements below the header line")
    return qrels


def _shown(row: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {type(value).__name__}" for key, value in row.items()) or "nothing"
