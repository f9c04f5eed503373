"""contrastors: `{query, document[, negatives]}`, as nomic-embed trains (arXiv 2402.01613).

A document or a negative may be one text or a list. `{query, passage}` and `{question, answer}` are
read in the same way. The rows have no prompts. In contrastors the data configs write `search_query:
` and the like. Here they belong in `query_prompt` and `document_prompt`.
"""

from __future__ import annotations

from bothways.data.columns import ANSWERED, ANSWERS, NEGATIVE, POSITIVE, SCORE, find_pair
from bothways.data.labeled.dialects.dialect import Dialect, row_by_row
from bothways.data.labeled.labeled_row import Fields, Numbered

_GRADED = {*ANSWERS, *SCORE, "scores", "grade", *POSITIVE}


def _parse(fields: Fields) -> Numbered | None:
    options = ("query", "document")
    one, two = find_pair(fields.where, fields.row, usual=ANSWERED, options=options)
    query, documents, negatives = fields.text(one), fields.texts(two), fields.texts(*NEGATIVE)
    return fields.example(query, documents, negatives, prompts=fields.prompts(symmetric=False))


def _fits(names: frozenset[str]) -> bool:
    # a score or label would say that some documents do not answer
    return any(set(couple) <= names for couple in ANSWERED) and names.isdisjoint(_GRADED)


NOMIC = Dialect("nomic", "query, document[, negatives]", _fits, row_by_row(_parse))
