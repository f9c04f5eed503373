"""Whole documents, for objectives that learn from long text.

`readers.iter_texts` takes each line of a .txt as a text. Here a document is a row of JSON, CSV or
parquet, or a whole .txt, for example a book. If the .txt marks its articles, as WikiExtractor
(`<doc …>`) and WikiText (` = Title = `) do, each article is a document. Columns that hold parts of
labeled rows, such as a query or a premise, are read only if you name them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from bothways.data.columns import DOCUMENT_TEXT
from bothways.data.rows import TEXT_COLUMN, Row, iter_lines
from bothways.data.text.readers import Places, iter_texts
from bothways.data.text_sources import Splits
from bothways.moved import old_names

DocumentUnit = Literal["auto", "line"]

_DOC = re.compile(r"\s*<doc(\s[^>]*)?>\s*$")
_DOC_END = re.compile(r"\s*</doc>\s*$")
_HEADING = re.compile(r"\s*(=(?: =)*)\s+\S.*\s\1\s*$")


def read_documents(
    source: str | Path,
    *,
    column: str | None = None,
    limit: int | None = None,
    unit: DocumentUnit = "auto",
    splits: Splits = "training",
) -> list[str]:
    """Read all documents of a source, in order; see `iter_documents`."""
    return list(iter_documents(source, column=column, limit=limit, unit=unit, splits=splits))


def iter_documents(
    source: str | Path,
    *,
    column: str | None = None,
    limit: int | None = None,
    unit: DocumentUnit = "auto",
    places: Places | None = None,
    splits: Splits = "training",
) -> Iterator[str]:
    """Stream the documents of a file, a folder, a hub dataset or the embedded text.

    Args:
        source: a source of `readers.iter_texts`.
        column: the column of the document. If None, the first of `columns.DOCUMENT_TEXT` in the
            first row of each file.
        limit: the maximum number of documents. If None, read everything.
        unit: how a .txt file is cut. "auto" takes its articles if they are marked, and otherwise
            the whole file. "line" takes each line.
        places: see `readers.iter_texts`. The row of an article is its first line.
        splits: see `readers.iter_texts`.

    Raises:
        InputError: a broken file, a missing column, a value that is not a text, or no document.
        SourceError: the source cannot be found or reached.
    """
    return iter_texts(
        source,
        column=column,
        limit=limit,
        columns=DOCUMENT_TEXT,
        txt=None if unit == "line" else txt_documents,
        places=places,
        splits=splits,
    )


def txt_documents(path: Path) -> Iterator[Row]:
    """Yield the documents of a .txt file, each with the number of its first line.

    Text between the articles of WikiExtractor is left out. Headings of WikiText become empty lines,
    because they do not belong to a sentence.
    """
    lines: list[str] = []
    first = 1
    outside = False  # after </doc>
    for number, line in iter_lines(path):
        heading = _HEADING.match(line)
        opens = _DOC.match(line) or (heading is not None and heading[1] == "=")
        if opens or _DOC_END.match(line):
            yield first, {TEXT_COLUMN: "".join(lines)}
            lines, first, outside = [], number + 1, not opens
        elif not outside:
            lines.append("\n" if heading is not None else line)
    yield first, {TEXT_COLUMN: "".join(lines)}


__getattr__ = old_names(__name__)
