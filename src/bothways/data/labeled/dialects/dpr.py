"""DPR's `{question, answers, positive_ctxs, negative_ctxs, hard_negative_ctxs}` with contexts `{title, text, …}` (arXiv 2004.04906).

A passage is its title, a space and its text, as in Tevatron and BEIR. Hard negatives come first. `negative_ctxs` are other questions'
passages in DPR's files, negatives all the same. The answers are strings to be found in a passage, and no texts to be matched.
"""

from __future__ import annotations

from bothways.data.labeled.dialects.base import Dialect, row_by_row
from bothways.data.labeled.dialects.tevatron import passages
from bothways.data.labeled.labeled_row import Fields, Numbered


def _parse(fields: Fields) -> Numbered | None:
    query = fields.text("question", "query")
    fields.column("positive_ctxs")
    fields.given("answers")
    negatives = [text for name in ("hard_negative_ctxs", "negative_ctxs") for text in passages(fields, name)]
    return fields.example(query, passages(fields, "positive_ctxs"), negatives, prompts=fields.prompts(symmetric=False))


DPR = Dialect(
    "dpr",
    "question, positive_ctxs[, hard_negative_ctxs, negative_ctxs]",
    lambda names: "positive_ctxs" in names,
    row_by_row(_parse),
)
