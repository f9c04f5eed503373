"""contrastors' `{query, document[, negatives]}`, what nomic-embed was trained with (arXiv 2402.01613, contrastors' data configs).

A document or a negative may be one text or a list of them. Its rows bring no prompts: `search_query: ` and the like are written in the
data configs there, and belong to `query_prompt` and `document_prompt` here.
"""

from __future__ import annotations

from bothways.data.labeled.dialects.base import Dialect, row_by_row
from bothways.data.labeled.labeled_row import Fields, Numbered

_NEGATIVE = ("negatives", "negative", "hard_negatives", "hard_negative")


def _parse(fields: Fields) -> Numbered | None:
    query = fields.text("query")
    fields.column("document")
    negatives = [text for name in _NEGATIVE for text in fields.texts(name)]
    return fields.example(query, fields.texts("document"), negatives, prompts=fields.prompts(symmetric=False))


def _fits(names: frozenset[str]) -> bool:
    # a score or label would say that not every document answers
    graded = {"label", "labels", "score", "scores", "relevance", "grade", "positive", "positives"}
    return {"query", "document"} <= names and names.isdisjoint(graded)


NOMIC = Dialect("nomic", "query, document[, negatives]", _fits, row_by_row(_parse))
