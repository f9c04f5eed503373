"""A retrieval collection from a BEIR folder.

`bothways.data.labeled.beir` describes and reads the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bothways.data.labeled.beir import collection_files, read_grades, read_texts_by_id
from bothways.errors import InputError


@dataclass(frozen=True)
class Collection:
    """Queries, documents and relevance judgments.

    Attributes:
        queries: query text by id.
        corpus: document text by id.
        qrels: `{query: {document: grade}}`. 0 means judged and not relevant.
    """

    queries: dict[str, str]
    corpus: dict[str, str]
    qrels: dict[str, dict[str, int]]


def read_beir(folder: str | Path, split: str = "test", subset: str | None = None) -> Collection:
    """Read one split of a folder: its judged queries, and every document.

    For example, `read_beir("scifact", "test")`.

    Raises:
        InputError: if a file or column is missing, an id occurs twice, a grade is not a whole
            number, a judged query does not have a text, or no judged document is in the corpus.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; a retrieval task needs a folder with corpus.jsonl, queries.jsonl and qrels/{split}.tsv"
        )
    files = collection_files(folder, split, subset)
    qrels = read_grades(files, split)
    judgments = files.judged(split)[0]
    queries, documents = files.of_split(files.queries, split), files.of_split(files.corpus, split)
    texts = read_texts_by_id(queries, qrels, title=False)
    corpus = read_texts_by_id(documents)
    unknown = next((query for query in qrels if query not in texts), None)
    if unknown is not None:
        raise InputError(
            f"{judgments}: judges query {unknown!r}, which is not in {queries[0].name}"
        )
    if not any(document in corpus for judged in qrels.values() for document in judged):
        raise InputError(
            f"{judgments}: none of the judged documents is in {documents[0].name}; the two files belong to different collections"
        )
    return Collection({query: texts[query] for query in qrels}, corpus, qrels)
