"""FlagEmbedding: `{query, pos, neg, pos_scores, neg_scores, prompt, type}`.

bothways writes this layout. `prompt` describes the task and goes through a template. `type` is the
kind of task. FlagEmbedding's loader puts the prompt before the passages as well for `symmetric_sts`
and `symmetric_clustering`, and not for `symmetric_class`, whose passages are label texts
(FlagEmbedding/abc/finetune/embedder/AbsDataset.py). `category`, in its clustering files, is the
cluster. FlagEmbedding trains files and folders named `…no_in_batch_neg` without in-batch negatives.
Here this is a choice of the stage, so the log recalls it.

bothways writes `query_prompt` and `document_prompt` in place of `prompt` and `type`, and also
`task` and `label`. It writes `labels` if a text has several labels, and `pos_labels` and
`neg_labels` for the labels of each document. GritLM and INSTRUCTOR have the same columns with pairs
of instruction and text in them; see `instructed`.
"""

from __future__ import annotations

from bothways.data.columns import NEGATIVE
from bothways.data.labeled.dialects.dialect import Dialect, row_by_row
from bothways.data.labeled.dialects.instructed import read_instructed
from bothways.data.labeled.labeled_row import Fields, Numbered

_BOTH_SIDES = {"symmetric_sts", "symmetric_clustering"}


def _parse(fields: Fields) -> Numbered | None:
    if "no_in_batch_neg" in fields.reading.label:
        fields.reading.notes["no_in_batch_neg: give these rows a stage with in_batch false"] = None
    label = fields.given("label", "category")
    fields.column("query")
    fields.column("pos")
    pairs = read_instructed(fields)
    if pairs is not None:
        query, positives, negatives, prompts = pairs
    else:
        query, positives = fields.text("query"), fields.texts("pos")
        negatives = fields.texts(*NEGATIVE)
        prompts = fields.prompts(symmetric=fields.given("type") in _BOTH_SIDES)
    scores = (
        fields.scores("pos_scores", len(positives), "pos"),
        fields.scores("neg_scores", len(negatives), "neg"),
    )
    return fields.example(
        query,
        positives,
        negatives,
        scores=scores,
        prompts=prompts,
        label=None if label in (None, "") else fields.label(label),
        classes=True,
    )


FLAGEMBEDDING = Dialect(
    "flagembedding",
    "query, pos[, neg]",
    lambda names: {"query", "pos"} <= names,
    row_by_row(_parse),
)
