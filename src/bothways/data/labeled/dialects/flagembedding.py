"""FlagEmbedding's `{query, pos, neg, pos_scores, neg_scores, prompt, type}`, which is also what bothways writes.

`prompt` describes the task and goes through a template. `type` says what kind of task: its loader puts the prompt before the
passages too for `symmetric_sts` and `symmetric_clustering`, and not for `symmetric_class`, where they are label texts
(FlagEmbedding/abc/finetune/embedder/AbsDataset.py). `category`, in its clustering files, is the cluster. A file or folder whose name
ends in no_in_batch_neg trains without in-batch negatives there; here that is a choice of the stage, so the log recalls it.

bothways writes `query_prompt` and `document_prompt` in place of `prompt` and `type`, so that nothing has to be worked out again,
`task` and `label`; `labels` where a text has several, and `pos_labels` and `neg_labels`, the labels of each document. GritLM and
INSTRUCTOR have the same columns with pairs of instruction and text in them; see `instructed`.
"""

from __future__ import annotations

from bothways.data.labeled.dialects.base import Dialect, row_by_row
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
        query, positives, negatives = fields.text("query"), fields.texts("pos"), fields.texts("neg")
        prompts = fields.prompts(symmetric=fields.given("type") in _BOTH_SIDES)
    return fields.example(
        query,
        positives,
        negatives,
        scores=(fields.scores("pos_scores", len(positives), "pos"), fields.scores("neg_scores", len(negatives), "neg")),
        prompts=prompts,
        label=None if label in (None, "") else fields.label(label),
        classes=True,
    )


FLAGEMBEDDING = Dialect("flagembedding", "query, pos[, neg]", lambda names: {"query", "pos"} <= names, row_by_row(_parse))
