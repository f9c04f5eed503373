"""CoNLL-2003: sentences of words with a part of speech, a chunk tag and an entity tag each.

The layout is that of the shared task (Tjong Kim Sang & De Meulder 2003,
https://aclanthology.org/W03-0419): one word a line with its three tags, and a blank line after each
sentence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bothways.data.rows import TEXT_COLUMN, iter_rows
from bothways.errors import InputError

COLUMNS = ("pos", "chunk", "ner")
"""The tag columns, in the order of the file."""

SPANNED = ("chunk", "ner")
"""The columns with tags that mark spans: O, B-TYPE, I-TYPE."""

_DOCUMENT = "-DOCSTART-"  # the only word of a sentence that marks a new document. It is not scored


@dataclass(frozen=True)
class Sentence:
    """One sentence of n words.

    Attributes:
        words: the n words.
        tags: for each of `COLUMNS`, the tag of every word.
    """

    words: tuple[str, ...]
    tags: dict[str, tuple[str, ...]]


def read_conll(path: str | Path, *, limit: int | None = None) -> list[Sentence]:
    """Read a file of the shared task, plain (.txt) or gzipped (.txt.gz).

    For example, the line `EU NNP B-NP B-ORG` is one word with its tags.

    Args:
        path: the file.
        limit: number of sentences to read. If None, read all.

    Raises:
        InputError: if a line does not have exactly four columns, if a span tag is not O, B-TYPE or
            I-TYPE (each with file and row), or if there are no sentences.
        SourceError: if the file does not exist.
    """
    sentences: list[Sentence] = []
    rows: list[list[str]] = []
    before = 0
    for number, row in iter_rows(path):
        # Blank lines are skipped but counted, so a gap in the numbers is the end of a sentence.
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
            f"{path}: no sentences; expected lines of WORD POS CHUNK NER, and a blank line after each sentence"
        )
    return sentences


def _fields(path: str | Path, number: int, line: str) -> list[str]:
    fields = line.split()
    if len(fields) != 1 + len(COLUMNS):
        raise InputError(
            f"{path}, row {number}: {len(fields)} columns; expected four: WORD POS CHUNK NER"
        )
    if fields[0] == _DOCUMENT:
        return fields
    for column, tag in zip(COLUMNS, fields[1:]):
        if column in SPANNED and tag != "O" and not (tag.startswith(("B-", "I-")) and len(tag) > 2):
            raise InputError(
                f"{path}, row {number}: {column} tag {tag!r}; expected O, B-TYPE or I-TYPE"
            )
    return fields


def _sentence(rows: list[list[str]]) -> Sentence:
    words, *tags = zip(*rows)
    return Sentence(tuple(words), {column: tuple(values) for column, values in zip(COLUMNS, tags)})
