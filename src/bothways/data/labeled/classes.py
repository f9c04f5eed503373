"""The meaning of labels: classes of many queries, and documents that name classes."""

from __future__ import annotations

from collections.abc import Sequence

from bothways.data.labeled.example import Example
from bothways.data.words import normal_form


def without_classes(rows: Sequence[Example]) -> list[Example]:
    """Leave out the rows that have a class or cluster as their label.

    A label is a class if different queries of a task share it. A label of a single query, as NLI's
    premises have, is not a class.
    """
    queries: dict[tuple[str, str], str] = {}
    shared: set[str] = set()
    for row in rows:
        if (
            row.label is not None
            and queries.setdefault((row.task, row.label), row.query) != row.query
        ):
            shared.add(row.task)
    return [row for row in rows if row.label is None or row.task not in shared]


def documents_are_labels(rows: Sequence[Example]) -> bool:
    """Return whether the positives of a source are the names of classes.

    They are if each label has a single text, which is never a query. The texts of a label are the
    positives of its rows and the negatives that are marked with it. If no label occurs twice, there
    are two more signs. Either all rows have the same documents (a row's positive and negatives are
    all the names there are), or each positive reads as its label does ("lost_card": "lost card").
    """
    queries = {row.query for row in rows}
    labeled = [row for row in rows if row.label is not None]
    positives: dict[str, set[str]] = {}
    texts: dict[str, set[str]] = {}
    marked = 0
    for row in labeled:
        positives.setdefault(row.label or "", set()).update(row.positives)
        texts.setdefault(row.label or "", set()).update(row.positives)
        for text, own in zip(row.negatives, row.negative_labels or ()):
            if len(own) == 1:
                texts.setdefault(own[0], set()).add(text)
                marked += 1
    if any(len(found) > 1 or found & queries for found in texts.values()):
        return False
    if len(labeled) + marked > len(texts):
        return True
    documents = {frozenset((*row.positives, *row.negatives)) for row in labeled}
    if len(labeled) > 1 and len(documents) == 1 and not next(iter(documents)) & queries:
        return True
    return all(
        normal_form(text) == normal_form(label)
        for label, found in positives.items()
        for text in found
    )
