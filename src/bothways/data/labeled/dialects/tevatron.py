"""Tevatron's `{query_id, query, positive_passages, negative_passages}` with passages `{docid, title, text}`.

A passage is its title, a space and its text, as Tevatron joins them (src/tevatron/retriever/dataset.py). Its newer form, which
names documents by id in a corpus of its own, cannot be read without that corpus and is refused with that reason.
"""

from __future__ import annotations

from typing import Any

from bothways.data.labeled.dialects.base import Dialect, row_by_row
from bothways.data.labeled.labeled_row import Fields, Numbered
from bothways.data.rows import type_name
from bothways.errors import InputError


def _parse(fields: Fields) -> Numbered | None:
    if "positive_passages" not in fields.row and "positive_document_ids" in fields.row:
        raise InputError(
            f"{fields.where}: documents by id (positive_document_ids) stand in a corpus apart; give rows with positive_passages, "
            "or a BEIR folder with the corpus in it"
        )
    query = fields.text("query", "query_text")
    fields.column("positive_passages")
    positives = passages(fields, "positive_passages")
    return fields.example(query, positives, passages(fields, "negative_passages"), prompts=fields.prompts(symmetric=False))


def passages(fields: Fields, name: str) -> list[str]:
    """The texts of a column of passages `{title, text}`, each with its title before it; [] where there is no such column.

    Raises:
        InputError: no list, or a passage without a text.
    """
    value = fields.unpacked(name)
    if value is None or value == "":
        return []
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{fields.where}: column {name!r} holds a {type_name(value)}, not a list of passages")
    return [_passage(fields, item, f"{name}[{place}]") for place, item in enumerate(value)]


def _passage(fields: Fields, item: Any, name: str) -> str:
    if isinstance(item, str):
        return fields.clean(item, name)
    if not isinstance(item, dict) or "text" not in item:
        raise InputError(f"{fields.where}: {name} is a {type_name(item)} without 'text'; expected docid, title, text")
    title = "" if item.get("title") is None else fields.clean(item["title"], f"{name}.title")
    return f"{title} {fields.clean(item['text'], f'{name}.text')}".strip()


def _fits(names: frozenset[str]) -> bool:
    return "positive_passages" in names or {"query_id", "positive_document_ids"} <= names


TEVATRON = Dialect("tevatron", "query, positive_passages[, negative_passages]", _fits, row_by_row(_parse))
