"""Clustering sets as retrieval of a text of the same cluster.

MTEB has each of its clustering sets in two forms: S2S, the titles, and P2P, the paragraphs under them. NV-Embed (arXiv 2405.17428)
trains on both: the title or the abstract is the query, its category the label, one drawn where a paper has several.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bothways.data.columns import BODY, LABEL, TITLE, find_column
from bothways.data.conversion.by_example import NEGATIVES, by_example
from bothways.data.conversion.converted import Converted
from bothways.data.decontamination import Overlap
from bothways.data.labeled.labeled_row import Fields, Reading
from bothways.data.labeled.labeled_text import LabeledText, iter_source, labels_in
from bothways.data.labeled.templates import Prompts
from bothways.data.rows import is_table
from bothways.errors import InputError

log = logging.getLogger("bothways")

Form = Literal["s2s", "p2p"]


def read_documents(
    source: str | Path,
    *,
    form: Form = "s2s",
    title: str | None = None,
    body: str | None = None,
    label: str | None = None,
    separator: str | None = None,
    title_before_body: bool = False,
) -> list[LabeledText]:
    """Read titles or bodies with their categories.

    Args:
        source: a file, folder or hub dataset.
        form: "s2s" for the title, "p2p" for the body.
        title, body, label: columns; by default the first of the usual names.
        separator: cuts a category that is a text into several.
        title_before_body: P2P is title, space, body, as MTEB's own P2P sets are.

    Raises:
        InputError: `form` unknown, a missing column, a value that is no text, or a row without a category; file and row.
        SourceError: no such source.
    """
    if form not in ("s2s", "p2p"):
        raise InputError(f"form: {form!r}; expected 's2s' (titles) or 'p2p' (bodies)")
    wanted: list[tuple[str | None, tuple[str, ...], str]] = []
    if form == "s2s" or title_before_body:
        wanted.append((title, TITLE, "title"))
    if form == "p2p":
        wanted.append((body, BODY, "body"))
    wanted.append((label, LABEL, "label"))
    items: list[LabeledText] = []
    for name, rows in iter_source(source):
        reading = Reading(name, "", cells=is_table(Path(name)))
        columns: list[str] = []
        for number, row in rows:
            fields = Fields(number, row, reading)
            if not columns:
                columns = [find_column(fields.where, row, usual, asked=asked, option=option) for asked, usual, option in wanted]
                if len(set(columns)) < len(columns):
                    raise InputError(f"{fields.where}: title and body would both be {columns[0]!r}; name the columns")
                log.info("%s: %s from %s, categories from %r", name, form, " and ".join(columns[:-1]), columns[-1])
            text = " ".join(part for part in map(fields.text, columns[:-1]) if part)
            items.append(LabeledText(text, labels_in(fields, columns[-1], separator), number))
    if not items:
        raise InputError(f"{source}: holds no row")
    return items


def clustering(
    items: Sequence[LabeledText],
    *,
    negatives: int = NEGATIVES,
    per_label: int | None = None,
    total: int | None = None,
    seed: int = 0,
    task: str = "clustering",
    prompts: Prompts | None = None,
    without: Overlap | None = None,
) -> Converted:
    """Examples of texts of one category against texts of others; arguments as `by_example`.

    A negative shares none of the query's categories, also none of those that were not drawn.
    """
    return by_example(
        items,
        negatives=negatives,
        per_label=per_label,
        total=total,
        seed=seed,
        task=task,
        prompts=prompts,
        without=without,
    )
