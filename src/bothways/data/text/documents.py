"""Whole documents, from whatever holds them: what objectives read that learn from long text.

`readers.iter_texts` gives texts, and the lines of a .txt are texts of their own there. A document is a row of JSON, CSV or parquet, or a
whole .txt (a book), unless that marks its articles, as WikiExtractor (`<doc …>`) and WikiText (` = Title = `) do. Columns that hold
parts of labelled rows (a query, a premise) are no documents, and are read only where they are asked for by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from bothways.data.rows import TEXT_COLUMN, Row, iter_lines
from bothways.data.sources import Splits
from bothways.data.text.readers import TEXT_COLUMNS, Places, iter_texts

Unit = Literal["auto", "line"]
#: Of the columns that may hold a text, those that hold a whole one.
DOCUMENT_COLUMNS = TEXT_COLUMNS[:5]

_DOC = re.compile(r"\s*<doc(\s[^>]*)?>\s*$")
_DOC_END = re.compile(r"\s*</doc>\s*$")
_HEADING = re.compile(r"\s*(=(?: =)*)\s+\S.*\s\1\s*$")


def read_documents(
    source: str | Path,
    *,
    column: str | None = None,
    limit: int | None = None,
    unit: Unit = "auto",
    splits: Splits = "training",
) -> list[str]:
    """Read all documents of a source, in order; see `iter_documents`."""
    return list(iter_documents(source, column=column, limit=limit, unit=unit, splits=splits))


def iter_documents(
    source: str | Path,
    *,
    column: str | None = None,
    limit: int | None = None,
    unit: Unit = "auto",
    places: Places | None = None,
    splits: Splits = "training",
) -> Iterator[str]:
    """Stream the documents of a file, folder, hub data set or the embedded text.

    Args:
        source: as `readers.iter_texts` takes it.
        column: the document's column; by default the first of DOCUMENT_COLUMNS that the file's first row has.
        limit: documents at most; None reads everything.
        unit: of .txt files: "auto", the articles where they are marked, else the whole file; "line", every line by itself.
        places: see `readers.iter_texts`; an article's row is its first line.
        splits: see `readers.iter_texts`.

    Raises:
        InputError: a broken file, no such column, a value that is no text, or no document at all.
        SourceError: the source cannot be found or reached.
    """
    split = None if unit == "line" else txt_documents
    return iter_texts(source, column=column, limit=limit, columns=DOCUMENT_COLUMNS, txt=split, places=places, splits=splits)


def txt_documents(path: Path) -> Iterator[Row]:
    """The documents of a .txt file, each with the number of its first line.

    Text between WikiExtractor's articles is nobody's, and headings of WikiText belong to no sentence.
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
