"""E5: `{query, positive, negative}`, one text or a list each.

These are the training files of E5-mistral, which Echo and LLM2Vec use too. `question` and `anchor`
can replace `query`, and plurals mean the same as singulars. A folder of such files has one task for
each file, named like the file. `bothways.data.labeled.templates.with_prompts` adds the instructions
that LLM2Vec trained with.
"""

from __future__ import annotations

from bothways.data.columns import NEGATIVE, POSITIVE, QUERY
from bothways.data.labeled.dialects.dialect import Dialect, row_by_row
from bothways.data.labeled.labeled_row import Fields, Numbered


def _parse(fields: Fields) -> Numbered | None:
    query = fields.text(*QUERY)
    fields.column(*POSITIVE)
    positives, negatives = fields.texts(*POSITIVE), fields.texts(*NEGATIVE)
    return fields.example(query, positives, negatives, prompts=fields.prompts(symmetric=False))


def _fits(names: frozenset[str]) -> bool:
    flagembedding = {"query", "pos"} <= names
    return not (flagembedding or names.isdisjoint(QUERY) or names.isdisjoint(POSITIVE))


E5 = Dialect("e5", "query, positive[, negative]", _fits, row_by_row(_parse))
