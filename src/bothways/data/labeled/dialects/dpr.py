"""DPR: `{question, answers, positive_ctxs, negative_ctxs, hard_negative_ctxs}` (arXiv 2004.04906).

A context is `{title, text, …}`, and its passage is the title, a space and the text, as in Tevatron
and BEIR. Hard negatives come first. `negative_ctxs` are passages of other questions, and are
negatives too. The answers are strings that occur in a passage, so they are not used.
"""

from __future__ import annotations

from bothways.data.columns import QUERY
from bothways.data.labeled.dialects.dialect import Dialect, row_by_row
from bothways.data.labeled.dialects.tevatron import passages
from bothways.data.labeled.labeled_row import Fields, Numbered

_NEGATIVE = ("hard_negative_ctxs", "negative_ctxs")


def _parse(fields: Fields) -> Numbered | None:
    query = fields.text(*QUERY)
    fields.column("positive_ctxs")
    fields.given("answers")
    positives = passages(fields, "positive_ctxs")
    negatives = [text for name in _NEGATIVE for text in passages(fields, name)]
    return fields.example(query, positives, negatives, prompts=fields.prompts(symmetric=False))


DPR = Dialect(
    "dpr",
    "question, positive_ctxs[, hard_negative_ctxs, negative_ctxs]",
    lambda names: "positive_ctxs" in names,
    row_by_row(_parse),
)
