"""STS tables as training data: pairs that score at least 4 of 5 become two examples, (a, b) and (b, a), as in NV-Embed.

AnglE's first format (arXiv 2309.12871: text1, text2, label, a score or 1 and 0) is such a table too. Its label is not a score where a
column names the labels (`label_text`, as in SetFit's copies of GLUE): 1 means "not entailed" in some of those.

Reading one is the conversion of `bothways.data.conversion.sts` without negatives; a file whose scores all lie in [0, 1], as
sentence-transformers ships STS-B, is read on that scale (0.8 for 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bothways.data.conversion.sts import CEILING, SCALE, THRESHOLD, directed_pairs
from bothways.data.labeled.dialects.base import Dialect
from bothways.data.labeled.labeled_row import Fields, Numbered, Reading
from bothways.data.labeled.pairs import Pairs
from bothways.data.rows import Row


def _read(rows: Iterable[Row], reading: Reading) -> Iterator[Numbered]:
    first: list[str] = []
    second: list[str] = []
    scores: list[float] = []
    numbers: list[int] = []
    places: dict[tuple[str, str], int] = {}
    for number, row in rows:
        fields = Fields(number, row, reading)
        one, two, score = _columns(fields)
        first.append(fields.text(one))
        second.append(fields.text(two))
        scores.append(fields.number_in(score))
        numbers.append(number)
        places.setdefault((first[-1], second[-1]), number)
        places.setdefault((second[-1], first[-1]), number)
    scale = 1.0 if scores and min(scores) >= 0 and max(scores) <= 1 else SCALE
    factor = scale / SCALE
    converted = directed_pairs(
        Pairs(first, second, scores), threshold=THRESHOLD * factor, ceiling=CEILING * factor, negatives=0, task=reading.task
    )
    reading.notes[f"pairs with a score of at least {THRESHOLD * factor:g}, in both directions"] = None
    for reason, count in converted.dropped.items():
        reading.skipped.add(reason, numbers[converted.first[reason] - 1], count)
    for example in converted.examples:
        yield places[example.query, example.positives[0]], example


_COLUMNS = (
    ("sentence1", "sentence2", "score"),
    ("sentence1", "sentence2", "similarity_score"),
    ("text1", "text2", "score"),
    ("text1", "text2", "label"),
)


def _columns(fields: Fields) -> tuple[str, str, str]:
    """The columns of the two texts and the score; the usual ones where none of the layouts is there, for the error to name."""
    return next((names for names in _COLUMNS if all(name in fields.row for name in names)), _COLUMNS[0])


def _fits(names: frozenset[str]) -> bool:
    return any(names >= set(layout) for layout in _COLUMNS) and "label_text" not in names


STS = Dialect("sts", "sentence1, sentence2, score (or text1, text2, label)", _fits, _read)
