"""Scored pairs: those that score at least 4 of 5 become two examples, (a, b) and (b, a).

NV-Embed uses STS data in this way. This is the conversion of `bothways.data.conversion.sts` without
negatives. If all scores lie in [0, 1], as in sentence-transformers' copy of STS-B, the threshold is
0.8 instead of 4. So it is for duplicates (`is_duplicate`, 1 or 0).

AnglE's first format (text1, text2, label: a score, or 1 and 0; arXiv 2309.12871) is read too. If
another column names the labels (`label_text`, as in SetFit's copies of GLUE), the label is not a
score: 1 means "not entailed" in some of those.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from bothways.data.columns import DUPLICATE, LABEL_NAMES, PAIR, SCORE
from bothways.data.conversion.options import StsOptions
from bothways.data.conversion.sts import CEILING, SCALE, THRESHOLD, directed_pairs
from bothways.data.labeled.dialects.dialect import Dialect
from bothways.data.labeled.graded_pairs import Pairs
from bothways.data.labeled.labeled_row import Fields, Numbered, Reading
from bothways.data.rows import Row

_LAYOUTS = (
    *((*pair, score) for pair, score in itertools.product(PAIR, (*SCORE, *DUPLICATE))),
    ("text1", "text2", "label"),
)


def _read(rows: Iterable[Row], reading: Reading) -> Iterator[Numbered]:
    pairs = Pairs([], [], [])
    numbers: list[int] = []
    places: dict[tuple[str, str], int] = {}
    for number, row in rows:
        fields = Fields(number, row, reading)
        one, two, score = _columns(fields)
        first, second = fields.text(one), fields.text(two)
        pairs.first.append(first)
        pairs.second.append(second)
        pairs.scores.append(fields.number_in(score))
        numbers.append(number)
        places.setdefault((first, second), number)
        places.setdefault((second, first), number)
    unit = bool(pairs.scores) and min(pairs.scores) >= 0 and max(pairs.scores) <= 1
    factor = 1 / SCALE if unit else 1.0
    threshold = THRESHOLD * factor
    converted = directed_pairs(
        pairs,
        StsOptions(threshold=threshold, ceiling=CEILING * factor, negatives=0, task=reading.task),
    )
    note = f"pairs with a score of at least {threshold:g}, in both directions"
    reading.notes[note] = None
    for reason, count in converted.dropped.items():
        reading.skipped.add(reason, numbers[converted.first[reason] - 1], count)
    for example in converted.examples:
        yield places[example.query, example.positives[0]], example


def _columns(fields: Fields) -> tuple[str, str, str]:
    """Return the columns of the two texts and of the score, or the usual ones for the error."""
    return next(
        (names for names in _LAYOUTS if all(name in fields.row for name in names)), _LAYOUTS[0]
    )


def _fits(names: frozenset[str]) -> bool:
    fitting = [layout for layout in _LAYOUTS if names >= set(layout)]
    named = not names.isdisjoint(LABEL_NAMES)
    return any(layout[2] != "label" or not named for layout in fitting)


STS = Dialect("sts", "sentence1, sentence2, score (or text1, text2, label)", _fits, _read)
