"""Clustering sets as retrieval of a text of the same cluster.

MTEB has each of its clustering sets in two forms: S2S, the titles, and P2P, the paragraphs under
them. NV-Embed (arXiv 2405.17428) trains on both: the query is the title or the abstract, and the
label is its category. If a paper has several categories, one is drawn.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bothways.data.columns import BODY, LABEL, TITLE, find_column
from bothways.data.conversion.by_example import by_example
from bothways.data.conversion.converted import Converted
from bothways.data.conversion.options import ClassOptions
from bothways.data.labeled.labeled_row import Fields, Reading
from bothways.data.labeled.labeled_text import LabeledText, iter_source, labels_in
from bothways.data.rows import is_table
from bothways.errors import InputError

log = logging.getLogger("bothways")

ClusteringForm = Literal["s2s", "p2p"]


@dataclass(frozen=True, kw_only=True)
class DocumentColumns:
    """Which columns of a clustering set are read.

    Attributes:
        form: "s2s" for the title, "p2p" for the body.
        title: the column of the title. If None, the first of `columns.TITLE`.
        body: the column of the body. If None, the first of `columns.BODY`.
        label: the column of the category. If None, the first of `columns.LABEL`.
        separator: cuts a category into several. For example, " " cuts arXiv's "cs.CL cs.LG" in two.
        title_before_body: P2P is the title, a space and the body, as in MTEB's P2P sets.
    """

    form: ClusteringForm = "s2s"
    title: str | None = None
    body: str | None = None
    label: str | None = None
    separator: str | None = None
    title_before_body: bool = False

    def names(self, fields: Fields) -> list[str]:
        """Return the columns of the texts and, last, the column of the category.

        Raises:
            InputError: a column is missing, or title and body would be the same one.
        """
        wanted: list[tuple[str | None, tuple[str, ...], str]] = []
        if self.form == "s2s" or self.title_before_body:
            wanted.append((self.title, TITLE, "title"))
        if self.form == "p2p":
            wanted.append((self.body, BODY, "body"))
        wanted.append((self.label, LABEL, "label"))
        columns = [
            find_column(fields.where, fields.row, usual, asked=asked, option=option)
            for asked, usual, option in wanted
        ]
        if len(set(columns)) < len(columns):
            raise InputError(
                f"{fields.where}: title and body would both be {columns[0]!r}; name the columns"
            )
        return columns


def read_titled_documents(
    source: str | Path, columns: DocumentColumns | None = None
) -> list[LabeledText]:
    """Read titles or bodies with their categories.

    For example, read_documents("arxiv.jsonl", DocumentColumns(form="p2p", separator=" ")).

    Args:
        source: a file, folder or hub dataset.
        columns: if None, the titles, in the usual columns.

    Raises:
        InputError: an unknown form, a missing column, a value that is not a text, or a row without
            a category. Names the file and the row.
        SourceError: the source cannot be found.
    """
    columns = columns or DocumentColumns()
    if columns.form not in ("s2s", "p2p"):
        raise InputError(f"form: {columns.form!r}; expected 's2s' (titles) or 'p2p' (bodies)")
    items: list[LabeledText] = []
    for name, rows in iter_source(source):
        reading = Reading(name, "", cells=is_table(Path(name)))
        names: list[str] = []
        for number, row in rows:
            fields = Fields(number, row, reading)
            if not names:
                names = columns.names(fields)
                texts = " and ".join(names[:-1])
                log.info("%s: %s from %s, categories from %r", name, columns.form, texts, names[-1])
            text = " ".join(part for part in map(fields.text, names[:-1]) if part)
            items.append(LabeledText(text, labels_in(fields, names[-1], columns.separator), number))
    if not items:
        raise InputError(f"{source}: holds no row")
    return items


def clustering(items: Sequence[LabeledText], options: ClassOptions | None = None) -> Converted:
    """Return examples of texts of one category against texts of others; see `by_example`.

    A negative shares none of the query's categories, whichever of them was drawn.
    """
    return by_example(items, options or ClassOptions(task="clustering"))
