"""NLI tables as training data: (premise, hypothesis, label) rows become (premise, entailment, contradiction) examples.

Reading one is the conversion of `bothways.data.conversion.nli` with its defaults, so that `train --data nli.jsonl` needs no file in
between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bothways.data.conversion.nli import iter_inferences, triplets
from bothways.data.labeled.dialects.base import Dialect
from bothways.data.labeled.labeled_row import Numbered, Reading
from bothways.data.rows import Row


def _read(rows: Iterable[Row], reading: Reading) -> Iterator[Numbered]:
    inferences = list(iter_inferences(rows, reading))
    first: dict[str, int] = {}
    for item in inferences:
        first.setdefault(item.premise, item.row)
    converted = triplets(inferences, task=reading.task)
    reading.notes["every entailment with a contradiction of its premise"] = None
    for reason, count in converted.dropped.items():
        reading.skipped.counts[reason] = reading.skipped.counts.get(reason, 0) + count
        reading.skipped.first.setdefault(reason, converted.first[reason])
    for example in converted.examples:
        yield first[example.query], example


def _fits(names: frozenset[str]) -> bool:
    return {"premise", "hypothesis"} <= names or {"sentence1", "sentence2", "gold_label"} <= names


NLI = Dialect("nli", "premise, hypothesis, label", _fits, _read)
