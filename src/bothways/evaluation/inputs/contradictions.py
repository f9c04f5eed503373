"""Checks for evaluation data that contradicts itself. They refuse it, or warn with a count.

A score over data that says two things at once is meaningless, and the number itself does not show
it. Data is refused if nothing meaningful is left: if no test label occurs in training, if every
text is a cluster of its own, or if no document is relevant. Otherwise the data is scored as it is,
because a protocol must not drop rows of its own accord. One line says how many rows are doubtful,
and which.
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
    """List a few values for a message, and the number of the others.

    For example, six labels give `'a', 'b', 'c', 'd', 'e' and 1 more`.
    """
    values = list(values)
    shown = [
        repr(value if len(value) <= _CHARACTERS else f"{value[: _CHARACTERS - 1]}…")
        for value in values[:_SHOWN]
    ]
    return ", ".join(shown) + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")


def say_empty(name: str, texts: Iterable[str], what: str = "texts") -> None:
    """Warn if texts are empty, because their vectors say nothing about the encoder.

    Args:
        name: name of the task or file.
        texts: the texts.
        what: word for them in the message.
    """
    count = sum(not text or text.isspace() for text in texts)
    if count:
        log.warning("%s: %d %s are empty and are scored like the others", name, count, what)


def say_two_labels(
    name: str, keys: Sequence[object], labels: Sequence[object], what: str = "texts"
) -> None:
    """Warn if one text (or pair) occurs with several labels.

    No model can be right about all its rows.

    Args:
        name: name of the task or file.
        keys: the texts or pairs.
        labels: a label for each.
        what: word for the keys in the message.
    """
    known: dict[object, set[object]] = {}
    for key, label in zip(keys, labels):
        known.setdefault(key, set()).add(label)
    count = sum(len(found) > 1 for found in known.values())
    if count:
        log.warning(
            "%s: %d %s occur with different labels, so no model can be right about all of them",
            name,
            count,
            what,
        )


def check_labels(
    name: str,
    train: Sequence[str],
    test: Sequence[str],
    *,
    what: str = "labels",
    rows: str = "test texts",
) -> dict[str, int]:
    """Compare the labels of test rows with those of training rows.

    Args:
        name: name of the task.
        train: labels of training rows.
        test: labels of test rows.
        what: word for the labels in messages.
        rows: word for the test rows in messages.

    Returns:
        The number of test rows with each label that training lacks. They count as wrong.

    Raises:
        InputError: if training lacks all of them.
    """
    known = set(train)
    unknown = {label: count for label, count in Counter(test).items() if label not in known}
    if not unknown:
        return {}
    if len(unknown) == len(set(test)):
        raise InputError(
            f"{name}: none of the test {what} occurs in training: {named(sorted(unknown))} in test, {named(sorted(known))} in "
            "training; write both in the same way"
        )
    log.warning(
        "%s: %d of %d %s have %s that do not occur in training (%s) and count as wrong",
        *(name, sum(unknown.values()), len(test), rows, what, named(sorted(unknown))),
    )
    return unknown


def say_overlap(
    name: str, train: Iterable[object], test: Sequence[object], what: str = "test texts"
) -> int:
    """Warn if test rows occur in training, and return their number.

    Case and white space of texts make no difference.

    Args:
        name: name of the task.
        train: training rows.
        test: test rows.
        what: word for the test rows in the message.
    """
    known = {_folded(item) for item in train}
    count = sum(_folded(item) in known for item in test)
    if count:
        log.warning(
            "%s: %d of %d %s occur in the training data too, so memorizing raises the score",
            name,
            count,
            len(test),
            what,
        )
    return count


def _folded(item: object) -> object:
    return " ".join(item.split()).casefold() if isinstance(item, str) else item


def check_clusters(name: str, labels: Sequence[str]) -> None:
    """Refuse a set in which every text is a cluster of its own.

    Its V-measure is 1 for any vectors.
    """
    if len(set(labels)) == len(labels):
        raise InputError(
            f"{name}: {len(labels)} texts with {len(labels)} different labels; clusters need several texts each, "
            "so choose another label column"
        )


def check_subsets(
    name: str, gold: np.ndarray, subsets: Sequence[str] | None, *, averaged: bool
) -> None:
    """Look for subsets without a defined correlation, because all their scores are equal.

    Args:
        name: name of the task or file.
        gold: (N,) gold scores.
        subsets: the subset of each pair, or None.
        averaged: whether the score is the average over subsets.

    Raises:
        InputError: if there are such subsets and the score is the average over subsets.
    """
    if subsets is None:
        return
    scores: dict[str, set[float]] = {}
    for subset, score in zip(subsets, gold):
        scores.setdefault(subset, set()).add(float(score))
    constant = [subset for subset, found in scores.items() if len(found) < 2]
    if constant and averaged:
        raise InputError(
            f"{name}: all scores are equal in {len(constant)} of {len(scores)} subsets ({named(constant)}), so they do not have a "
            "correlation to average; use aggregation=all, or leave them out"
        )
    if constant:
        log.warning(
            "%s: all scores are equal in subset %s, so its correlation is undefined and counts as 0",
            name,
            named(constant),
        )


def say_scale(name: str, gold: np.ndarray) -> None:
    """Warn if a few scores are outside the scale of the others.

    -1 and 99 often mark a missing score.
    """
    for low, high in ((0.0, 1.0), (0.0, 5.0), (0.0, 10.0), (0.0, 100.0)):
        outside = gold[(gold < low) | (gold > high)]
        if len(outside) == 0:
            return
        if len(outside) <= 0.1 * len(gold) and len(gold) - len(outside) >= 2:
            values = named(f"{value:g}" for value in sorted(set(outside.tolist())))
            log.warning(
                "%s: %d of %d scores are outside the scale of the others, %g to %g (%s); if they mark missing scores, remove the rows",
                *(name, len(outside), len(gold), low, high, values),
            )
            return


def unordered(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Put each pair into one order, because a similarity is the same both ways.

    For example, ("b", "a") becomes ("a", "b").
    """
    return [(one, two) if one <= two else (two, one) for one, two in pairs]


def say_equal_texts(name: str, pairs: Iterable[tuple[str, str]], highest: Iterable[bool]) -> None:
    """Warn if a text is paired with itself and the pair does not have the highest score.

    Args:
        name: name of the task or file.
        pairs: the pairs.
        highest: whether each has the highest score, or the label of pairs that mean the same.
    """
    count = sum(one == two and not best for (one, two), best in zip(pairs, highest))
    if count:
        log.warning(
            "%s: %d pairs of equal texts do not have the highest score, but every model gives them a cosine of 1",
            name,
            count,
        )


def say_two_scores(name: str, pairs: Sequence[tuple[str, str]], scores: Iterable[float]) -> None:
    """Warn if one pair occurs with different scores, in either order."""
    known: dict[tuple[str, str], set[float]] = {}
    for pair, score in zip(unordered(pairs), scores):
        known.setdefault(pair, set()).add(score)
    count = sum(len(found) > 1 for found in known.values())
    if count:
        log.warning(
            "%s: %d pairs occur with different scores, so no model can be right about all of them",
            name,
            count,
        )


def check_judgments(
    name: str,
    queries: Mapping[str, str],
    corpus: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
) -> None:
    """Look for judgments that cannot be met.

    Raises:
        InputError: if nothing relevant is in the corpus, or if the corpus has only one document.
    """
    relevant = {
        query: [document for document, grade in grades.items() if grade > 0]
        for query, grades in qrels.items()
    }
    without = [query for query, found in relevant.items() if not found]
    if len(without) == len(relevant):
        raise InputError(
            f"{name}: none of the {len(relevant)} judged queries has a relevant document, because every grade is 0 or less"
        )
    absent = {
        query: [document for document in found if document not in corpus]
        for query, found in relevant.items()
    }
    lost = [
        query for query, found in relevant.items() if found and len(absent[query]) == len(found)
    ]
    if len(lost) + len(without) == len(relevant):
        raise InputError(
            f"{name}: none of the relevant documents is in the corpus; judgments and corpus belong to different collections"
        )
    if len(corpus) < 2:
        raise InputError(
            f"{name}: the corpus has only one document, which every ranking finds; add documents that are not relevant"
        )
    if without:
        log.warning(
            "%s: %d of %d judged queries do not have a relevant document (%s) and count with 0",
            name,
            len(without),
            len(qrels),
            named(without),
        )
    missing = sum(map(len, absent.values()))
    if missing:
        log.warning(
            "%s: %d of %d relevant documents are not in the corpus and count as not found, among them all of %d queries",
            *(name, missing, sum(map(len, relevant.values())), len(lost)),
        )
    _say_copies(name, corpus, relevant)
    _say_unlike_judgments(name, queries, relevant)
    say_empty(name, (queries[query] for query in qrels if query in queries), "queries")
    say_empty(name, corpus.values(), "documents")


def _say_unlike_judgments(
    name: str, queries: Mapping[str, str], relevant: Mapping[str, Sequence[str]]
) -> None:
    """Warn of queries with one text, several ids and different relevant documents."""
    answers: dict[str, set[frozenset[str]]] = {}
    for query, found in relevant.items():
        if query in queries:
            answers.setdefault(queries[query], set()).add(frozenset(found))
    twice = sum(len(found) > 1 for found in answers.values())
    if twice:
        log.warning(
            "%s: %d queries occur under several ids with different judgments, so no model can be right about all of them",
            name,
            twice,
        )


def _say_copies(name: str, corpus: Mapping[str, str], relevant: Mapping[str, list[str]]) -> None:
    """Warn if a relevant document has a copy that is not judged relevant to the same query."""
    wanted = {corpus[each] for found in relevant.values() for each in found if each in corpus}
    ids: dict[str, set[str]] = {}
    for document, text in corpus.items():
        if text in wanted:
            ids.setdefault(text, set()).add(document)
    count = sum(
        any(ids[corpus[each]] - set(found) for each in found if each in corpus)
        for found in relevant.values()
    )
    if count:
        log.warning(
            "%s: relevant documents of %d queries have copies under other ids, which count as wrong answers",
            name,
            count,
        )
