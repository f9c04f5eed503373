"""What labels in a source mean: classes or clusters that many queries share, and documents that are the names of classes."""

from __future__ import annotations

from collections.abc import Sequence

from bothways.data.labeled.example import Example
from bothways.data.words import normal_form


def without_classes(rows: Sequence[Example]) -> list[Example]:
    """Leave out the rows with a label, if labels are classes: different queries of a task share one.

    A label that stands for one query alone, as NLI's premises have, is not a class.
    """
    queries: dict[tuple[str, str], str] = {}
    shared: set[str] = set()
    for row in rows:
        if row.label is not None and queries.setdefault((row.task, row.label), row.query) != row.query:
            shared.add(row.task)
    return [row for row in rows if row.label is None or row.task not in shared]


def documents_are_labels(rows: Sequence[Example]) -> bool:
    """Tell whether the positives of one source are the names of classes, and not other texts of the class.

    They are if each label has a single positive, which is never a query itself. If no label has two rows, its positive must also read
    as the label does ("lost_card": "lost card").
    """
    queries = {row.query for row in rows}
    positives: dict[str, set[str]] = {}
    labels = [row.label for row in rows if row.label is not None]
    for row in rows:
        if row.label is not None:
            positives.setdefault(row.label, set()).update(row.positives)
    if any(len(texts) > 1 or texts & queries for texts in positives.values()):
        return False
    if len(labels) > len(positives):
        return True
    return all(normal_form(text) == normal_form(label) for label, texts in positives.items() for text in texts)
