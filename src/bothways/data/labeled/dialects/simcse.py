"""SimCSE: the supervised table `sent0, sent1, hard_neg` (nli_for_simcse.csv, arXiv 2104.08821)."""

from __future__ import annotations

from bothways.data.labeled.dialects.dialect import Dialect, row_by_row
from bothways.data.labeled.labeled_row import Fields, Numbered


def _parse(fields: Fields) -> Numbered | None:
    # the table without hard negatives has empty cells
    negatives = [text for text in fields.texts("hard_neg") if text]
    return fields.example(fields.text("sent0"), [fields.text("sent1")], negatives)


SIMCSE = Dialect(
    "simcse",
    "sent0, sent1[, hard_neg]",
    lambda names: {"sent0", "sent1"} <= names,
    row_by_row(_parse),
)
