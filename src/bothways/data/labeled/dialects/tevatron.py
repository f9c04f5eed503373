"""Tevatron: `{query_id, query, positive_passages, negative_passages}`.

A passage is `{docid, title, text}`, and its text is the title, a space and the text, as Tevatron
joins them (src/tevatron/retriever/dataset.py). The newer form names documents by id in a corpus of
its own. It cannot be read without that corpus, so it is refused.
"""

from __future__ import annotations

from bothways.data.columns import QUERY
from bothways.data.labeled.dialects.dialect import Dialect, row_by_row
from bothways.data.labeled.labeled_row import Fields, Numbered
from bothways.data.rows import type_name
from bothways.errors import InputError


def _parse(fields: Fields) -> Numbered | None:
    if "positive_passages" not in fields.row and "positive_document_ids" in fields.row:
        raise InputError(
            f"{fields.where}: the documents of positive_document_ids are in another file; give rows "
            "with positive_passages, or a BEIR folder that holds the corpus"
        )
    query = fields.text(*QUERY)
    fields.column("positive_passages")
    positives = passages(fields, "positive_passages")
    negatives = passages(fields, "negative_passages")
    return fields.example(query, positives, negatives, prompts=fields.prompts(symmetric=False))


def passages(fields: Fields, name: str) -> list[str]:
    """Return the texts of a column of passages `{title, text}`, each with its title before it.

    Returns:
        The texts, or [] if the row lacks the column.

    Raises:
        InputError: the value is not a list, or a passage has no text.
    """
    value = fields.unpacked(name)
    if value is None or value == "":
        return []
    if not isinstance(value, (list, tuple)):
        raise InputError(
            f"{fields.where}: column {name!r} holds a {type_name(value)}, not a list of passages"
        )
    return [_passage(fields, item, f"{name}[{place}]") for place, item in enumerate(value)]


def _passage(fields: Fields, item: object, name: str) -> str:
    if isinstance(item, str):
        return fields.clean(item, name)
    if not isinstance(item, dict) or "text" not in item:
        raise InputError(
            f"{fields.where}: {name} is a {type_name(item)} without 'text'; expected docid, title, text"
        )
    title = "" if item.get("title") is None else fields.clean(item["title"], f"{name}.title")
    return f"{title} {fields.clean(item['text'], f'{name}.text')}".strip()


def _fits(names: frozenset[str]) -> bool:
    return "positive_passages" in names or {"query_id", "positive_document_ids"} <= names


TEVATRON = Dialect(
    "tevatron", "query, positive_passages[, negative_passages]", _fits, row_by_row(_parse)
)
