"""E5's `{query, positive, negative}`, one text or a list each: the training files of E5-mistral that Echo and LLM2Vec share.

The plurals `positives` and `negatives` (Tevatron's own files of plain texts) mean the same. A folder of such files has a task per
file, named as the file; `bothways.data.labeled.templates.with_prompts` gives each the instruction that LLM2Vec trained with.
"""

from __future__ import annotations

from bothways.data.labeled.dialects.base import Dialect, row_by_row
from bothways.data.labeled.labeled_row import Fields, Numbered

_POSITIVE, _NEGATIVE = ("positive", "positives"), ("negative", "negatives")


def _parse(fields: Fields) -> Numbered | None:
    query = fields.text("query")
    fields.column(*_POSITIVE)
    return fields.example(query, fields.texts(*_POSITIVE), fields.texts(*_NEGATIVE), prompts=fields.prompts(symmetric=False))


E5 = Dialect(
    "e5", "query, positive[, negative]", lambda names: "query" in names and not names.isdisjoint(_POSITIVE), row_by_row(_parse)
)
