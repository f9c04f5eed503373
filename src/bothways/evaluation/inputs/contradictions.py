"""Evaluation data that contradicts itself: what is refused, and what is said with a count.

A score over data that says two things at once is a number without a meaning, and nobody sees it. Where no meaning is left the data
is refused: no test label ever occurs in training, every text is a cluster of its own, no document is relevant. Where the rest has one,
the data is scored as it is, since a protocol that drops rows of its own is no protocol any more, and one line says how many rows are
doubtful and which.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bothways.errors import InputError

log = logging.getLogger("bothways")

_SHOWN = 5  # labels, ids or subsets named in a line
_CHARACTERS = 40


def named(values: Iterable[str]) -> str:
    """A few values for a line, the rest as a number."""
    values = list(values)
    shown = [repr(value if len(value) <= _CHARACTERS else f"{value[: _CHARACTERS - 1]}…") for value in values[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")


def say_empty(name: str, texts: Iterable[str], what: str = "texts") -> None:
    """Warn when texts are empty: their vectors say nothing of the encoder."""
    count = sum(not text or text.isspace() for text in texts)
    if count:
        log.warning("%s: %d %s are empty; they are scored like the others", name, count, what)


def say_two_labels(name: str, keys: Sequence[object], labels: Sequence[object], what: str = "texts") -> None:
    """Warn when one text (or pair) occurs with several labels: no model can be right about all its rows."""
    known: dict[object, set[object]] = {}
    for key, label in zip(keys, labels):
        known.setdefault(key, set()).add(label)
    count = sum(len(found) > 1 for found in known.values())
    if count:
        log.warning("%s: %d %s occur with different labels; no model can be right about all of their rows", name, count, what)


def check_labels(
    name: str, train: Sequence[str], test: Sequence[str], *, what: str = "labels", rows: str = "test texts"
) -> dict[str, int]:
    """Compare the labels of test rows with those that training can teach.

    Returns:
        How many test rows have each label that training lacks; they count as wrong.

    Raises:
        InputError: training lacks all of them.
    """
    known = set(train)
    unknown = {label: count for label, count in Counter(test).items() if label not in known}
    if not unknown:
        return {}
    if len(unknown) == len(set(test)):
        raise InputError(
            f"{name}: none of the test {what} ever occurs in training: {named(sorted(unknown))} in test, {named(sorted(known))} in "
            "training; write both the same way"
        )
    log.warning(
        "%s: %d of %d %s have %s that never occur in training (%s); they count as wrong",
        *(name, sum(unknown.values()), len(test), rows, what, named(sorted(unknown))),
    )
    return unknown


def say_overlap(name: str, train: Iterable[object], test: Sequence[object], what: str = "test texts") -> int:
    """Warn when test rows occur in training, and return how many do."""
    known = set(train)
    count = sum(item in known for item in test)
    if count:
        log.warning(
            "%s: %d of %d %s occur in the training data too; the score is too high by what is remembered",
            name,
            count,
            len(test),
            what,
        )
    return count


def check_clusters(name: str, labels: Sequence[str]) -> None:
    """Refuse a set in which every text is a cluster of its own: its V-measure is 1 whatever the vectors are."""
    if len(set(labels)) == len(labels):
        raise InputError(
            f"{name}: {len(labels)} texts with {len(labels)} different labels; clusters need several texts each, so choose another label"
        )


def check_subsets(name: str, gold: np.ndarray, subsets: Sequence[str] | None, *, averaged: bool) -> None:
    """Look for subsets in which no correlation is defined, because all their scores are equal.

    Raises:
        InputError: there are such subsets, and the score is the average over subsets.
    """
    if subsets is None:
        return
    scores: dict[str, set[float]] = {}
    for subset, score in zip(subsets, gold):
        scores.setdefault(subset, set()).add(float(score))
    constant = [subset for subset, found in scores.items() if len(found) < 2]
    if constant and averaged:
        raise InputError(
            f"{name}: all scores are equal in {len(constant)} of {len(scores)} subsets ({named(constant)}), so that they have no "
            "correlation to average; use aggregation=all, or leave them out"
        )
    if constant:
        log.warning(
            "%s: all scores are equal in subset %s; its correlation is undefined and counted as 0", name, named(constant)
        )


def say_scale(name: str, gold: np.ndarray) -> None:
    """Warn when a few scores lie outside the scale of the others: -1 and 99 often stand for a missing score."""
    for low, high in ((0.0, 1.0), (0.0, 5.0), (0.0, 10.0), (0.0, 100.0)):
        outside = gold[(gold < low) | (gold > high)]
        if len(outside) == 0:
            return
        if len(outside) <= 0.1 * len(gold) and len(gold) - len(outside) >= 2:
            values = named(f"{value:g}" for value in sorted(set(outside.tolist())))
            log.warning(
                "%s: %d of %d scores lie outside the scale of the others, %g to %g (%s); a missing score is no score, so remove such rows",
                *(name, len(outside), len(gold), low, high, values),
            )
            return


def say_two_scores(name: str, pairs: Sequence[tuple[str, str]], scores: Iterable[float]) -> None:
    """Warn when one pair occurs with different scores."""
    known: dict[tuple[str, str], set[float]] = {}
    for pair, score in zip(pairs, scores):
        known.setdefault(pair, set()).add(score)
    count = sum(len(found) > 1 for found in known.values())
    if count:
        log.warning("%s: %d pairs occur with different scores; no model can be right about all of their rows", name, count)


def check_judgements(
    name: str, queries: Mapping[str, str], corpus: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> None:
    """Look for judgements that cannot be met.

    Raises:
        InputError: nothing relevant in the corpus, or a corpus of one document.
    """
    relevant = {query: [document for document, grade in grades.items() if grade > 0] for query, grades in qrels.items()}
    without = [query for query, found in relevant.items() if not found]
    if len(without) == len(relevant):
        raise InputError(
            f"{name}: none of the {len(relevant)} judged queries has a relevant document; every grade is 0 or less"
        )
    absent = {query: [document for document in found if document not in corpus] for query, found in relevant.items()}
    lost = [query for query, found in relevant.items() if found and len(absent[query]) == len(found)]
    if len(lost) + len(without) == len(relevant):
        raise InputError(f"{name}: none of the relevant documents is in the corpus; the two belong to different collections")
    if len(corpus) < 2:
        raise InputError(
            f"{name}: a corpus of one document is found by every ranking; give it the documents that are not relevant"
        )
    if without:
        log.warning(
            "%s: %d of %d judged queries have no relevant document (%s); they count with 0",
            name,
            len(without),
            len(qrels),
            named(without),
        )
    missing = sum(map(len, absent.values()))
    if missing:
        log.warning(
            "%s: %d of %d relevant documents are not in the corpus; they count as not found, and all of %d queries are such",
            *(name, missing, sum(map(len, relevant.values())), len(lost)),
        )
    say_empty(name, (queries[query] for query in qrels if query in queries), "queries")
    say_empty(name, corpus.values(), "documents")
