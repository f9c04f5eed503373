"""CoNLL-2003: sentences of words, each word with a part of speech, a chunk tag and an entity tag.

The layout of the shared task (Tjong Kim Sang & De Meulder 2003, https://aclanthology.org/W03-0419): one word a line with its three
tags, a blank line after each sentence. It stands apart because it knows the layout and nothing of encoders or scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bothways.data.rows import TEXT_COLUMN, iter_rows
from bothways.errors import InputError

COLUMNS = ("pos", "chunk", "ner")
"""The tag columns, in the order of the file."""

SPANNED = ("chunk", "ner")
"""Those whose tags mark spans: O, B-TYPE, I-TYPE."""

_DOCUMENT = "-DOCSTART-"  # stands alone in a sentence of its own where a new document begins; nobody scores it


@dataclass(frozen=True)
class Sentence:
    """One sentence: n words, and for each of `COLUMNS` the tag of every word."""

    words: tuple[str, ...]
    tags: dict[str, tuple[str, ...]]


def read_conll(path: str | Path, *, limit: int | None = None) -> list[Sentence]:
    """Read a file of the shared task, plain (.txt) or gzipped (.txt.gz).

    Args:
        path: the file.
        limit: stop after this many sentences; None reads all.

    Raises:
        InputError: a line without exactly four columns, a span tag that is neither O, B-TYPE nor I-TYPE (each with file and row), or
            no sentence at all.
        SourceError: no such file.
    """
    sentences: list[Sentence] = []
    rows: list[list[str]] = []
    before = 0
    for number, row in iter_rows(path):
        # blank lines yield no row but are counted, so a gap in the numbers is the end of a sentence
        if rows and number > before + 1:
            sentences.append(_sentence(rows))
            rows = []
            if limit is not None and len(sentences) >= limit:
                return sentences
        before = number
        fields = _fields(path, number, row[TEXT_COLUMN])
        if fields[0] != _DOCUMENT:
            rows.append(fields)
    if rows:
        sentences.append(_sentence(rows))
    if not sentences:
        raise InputError(
            f"{path}: holds no sentence; expected lines of WORD POS CHUNK NER, and a blank line after each sentence"
        )
    return sentences


def _fields(path: str | Path, number: int, line: str) -> list[str]:
    fields = line.split()
    if len(fields) != 1 + len(COLUMNS):
        raise InputError(f"{path}, row {number}: {len(fields)} columns; expected four: WORD POS CHUNK NER")
    if fields[0] == _DOCUMENT:
        return fields
    for column, tag in zip(COLUMNS, fields[1:]):
        if column in SPANNED and tag != "O" and not (tag.startswith(("B-", "I-")) and len(tag) > 2):
            raise InputError(f"{path}, row {number}: {column} tag {tag!r}; expected O, B-TYPE or I-TYPE")
    return fields


def _sentence(rows: list[list[str]]) -> Sentence:
    words, *tags = zip(*rows)
    return Sentence(tuple(words), {column: tuple(values) for column, values in zip(COLUMNS, tags)})
