"""sentence-transformers: its columns, and everything that its `mine_hard_negatives` writes.

    triplet       anchor, positive, negative[, scores]
    n-tuple       anchor, positive, negative_1 …, negative_n[, scores]
    labeled-pair  anchor, positive, label            one document a row; label 0 is a negative
    labeled-list  anchor, positive, labels[, scores] lists of documents and of 1 and 0

(util/hard_negatives.py of version 6.) The scores of an n-tuple are those of the positive and of
each negative. `query` and `question` can replace `anchor`. A labeled pair may be called query and
document, or question and answer (WikiQA).

The losses go by the order of columns, and mining keeps the names of the data. So if you name the
dialect, a file with other names is read by order: the first column of texts is the anchor, the
second the positive, the others negatives, as MultipleNegativesRankingLoss takes them. Some labels
and scores do not say which text answers. They are refused if they might turn a negative into an
answer, and otherwise ignored with a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bothways.data.columns import ANSWERED, ANSWERS, NEGATIVE, QUERY
from bothways.data.labeled.dialects.dialect import Dialect
from bothways.data.labeled.labeled_row import Fields, Numbered, Reading, Scores
from bothways.data.rows import Row
from bothways.errors import InputError

_MEMBER = re.compile(r"(positive|negative)s?(?:_(\d+))?")
_SCORES = ("scores", "score")
_NOT_TEXT = {
    *(*ANSWERS, *_SCORES, "id"),
    *("query_prompt", "document_prompt", "prompt", "instruction", "task"),
}


class _Columns(NamedTuple):
    """Which columns hold the texts of a row."""

    anchor: str
    positives: list[str]
    negatives: list[str]


@dataclass
class _Pairs:
    """The labeled pairs of one anchor. `first` is the first of their rows."""

    first: Fields
    right: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def _read(rows: Iterable[Row], reading: Reading) -> Iterator[Numbered]:
    pairs: dict[str, _Pairs] = {}
    for number, row in rows:
        fields = Fields(number, row, reading)
        columns = _columns(fields)
        anchor = fields.text(columns.anchor)
        positives = [text for name in columns.positives for text in fields.texts(name)]
        negatives = [text for name in columns.negatives for text in fields.texts(name)]
        labels = fields.listed(*ANSWERS)
        if columns.negatives or labels is None:
            yield from _made(
                fields, anchor, positives, negatives, _scores(fields, columns, positives, negatives)
            )
        elif isinstance(labels, list):
            yield from _sorted_out(fields, anchor, positives, labels)
        else:
            found = pairs.setdefault(anchor, _Pairs(fields))
            (found.right if _answers(fields, labels) else found.wrong).extend(positives)
    if pairs:
        reading.notes["pairs with label 0 as negatives of their anchor"] = None
    for anchor, found in pairs.items():
        yield from _made(found.first, anchor, found.right, found.wrong, (None, None))


def _made(
    fields: Fields, anchor: str, positives: list[str], negatives: list[str], scores: Scores
) -> Iterator[Numbered]:
    made = fields.example(
        anchor, positives, negatives, scores=scores, prompts=fields.prompts(symmetric=False)
    )
    if made is not None:
        yield made


def _columns(fields: Fields) -> _Columns:
    named = next((name for name in QUERY if name in fields.row), None)
    positives, negatives = (_members(fields, kind) for kind in ("positive", "negative"))
    negatives = negatives or [name for name in NEGATIVE if name in fields.row][:1]
    if named is not None and positives:
        return _Columns(named, positives, negatives)
    couple = next((couple for couple in ANSWERED if set(couple) <= fields.row.keys()), None)
    if couple is not None and any(name in fields.row for name in ANSWERS):
        return _Columns(couple[0], [couple[1]], [])
    if "anchor" in fields.row:
        fields.column("positive", "positive_1")
    names = [name for name in fields.row if name not in _NOT_TEXT]
    if len(names) < 2:
        raise InputError(
            f"{fields.where}: {len(names)} columns of texts; expected an anchor, a positive and any negatives"
        )
    fields.reading.notes[f"by order: {', '.join(names)}"] = None
    return _Columns(names[0], names[1:2], names[2:])


def _members(fields: Fields, kind: str) -> list[str]:
    """Return the columns of a kind in the order of their numbers: negative_2, then negative_10."""
    found = [
        (int(match[2] or 0), name)
        for name in fields.row
        if (match := _MEMBER.fullmatch(name)) and match[1] == kind
    ]
    return [name for _, name in sorted(found)]


def _scores(
    fields: Fields, columns: _Columns, positives: list[str], negatives: list[str]
) -> Scores:
    """Return the scores of a row that has no labels, or whose labels are not needed.

    Raises:
        InputError: the scores do not fit the texts, or could belong to negatives that nothing
            marks.
    """
    if columns.negatives and fields.given(*ANSWERS) is not None:
        fields.reading.notes["labels next to negatives ignored"] = None
    values = fields.listed(*_SCORES)
    if values is None:
        return None, None
    if not columns.negatives:
        raise InputError(
            f"{fields.where}: scores without labels do not say which texts are answers; give label 1 or 0 (labels, for a list), "
            "columns of negatives, or leave the scores out"
        )
    if not isinstance(values, list):  # MarginMSE's: by how much the positive is better
        fields.reading.notes["one score a row ignored"] = None
        return None, None
    name = next(name for name in _SCORES if fields.row.get(name) is not None)
    found = (
        fields.scores(
            name, len(positives) + len(negatives), f"{', '.join(columns.positives)} and negatives"
        )
        or []
    )
    return found[: len(positives)], found[len(positives) :]


def _sorted_out(
    fields: Fields, anchor: str, documents: list[str], labels: list[Any]
) -> Iterator[Numbered]:
    """Yield the example of a labeled list."""
    if len(labels) != len(documents):
        raise InputError(
            f"{fields.where}: {len(labels)} labels, but {len(documents)} texts; give each its label, 1 or 0"
        )
    name = next((name for name in _SCORES if fields.row.get(name) is not None), _SCORES[0])
    scores = fields.scores(name, len(documents), "texts")
    places: dict[bool, list[int]] = {True: [], False: []}
    for place, label in enumerate(labels):
        places[_answers(fields, label)].append(place)
    texts = [[documents[place] for place in places[right]] for right in (True, False)]
    known = [
        None if scores is None else [scores[place] for place in places[right]]
        for right in (True, False)
    ]
    yield from _made(fields, anchor, texts[0], texts[1], (known[0], known[1]))


def _answers(fields: Fields, label: Any) -> bool:
    """Return whether a label says that a text answers.

    Raises:
        InputError: the label is neither 1 nor 0.
    """
    try:
        value = float(label)
    except (TypeError, ValueError):
        value = -1.0
    if value not in (0.0, 1.0):
        raise InputError(
            f"{fields.where}: label {label!r}; expected 1 (an answer) or 0 (a negative); scored pairs are columns sentence1, "
            "sentence2, score"
        )
    return value == 1.0


def _fits(names: frozenset[str]) -> bool:
    if any(set(couple) <= names for couple in ANSWERED) and not names.isdisjoint(ANSWERS):
        return True
    members = [match for name in names if (match := _MEMBER.fullmatch(name))]
    if not any(match[1] == "positive" for match in members):
        return False
    # {query, positive, negative} without more is E5's, which means the same
    more = any(match[2] for match in members) or not names.isdisjoint((*ANSWERS, *_SCORES))
    return "anchor" in names or (not names.isdisjoint(QUERY) and more)


SENTENCE_TRANSFORMERS = Dialect(
    "sentence-transformers",
    "anchor or query, positive[_1 …][, negative[_1 …]][, label or scores]",
    _fits,
    _read,
)
