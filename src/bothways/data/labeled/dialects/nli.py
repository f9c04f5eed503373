"""NLI tables: rows of premise, hypothesis and label become (premise, entailment, contradiction).

This is the conversion of `bothways.data.conversion.nli` with its defaults, so that you can train on
an NLI table without a file in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bothways.data.columns import SCORE
from bothways.data.conversion.nli import iter_inferences, triplets
from bothways.data.conversion.options import NliOptions
from bothways.data.labeled.dialects.dialect import Dialect
from bothways.data.labeled.labeled_row import Numbered, Reading
from bothways.data.rows import Row


def _read(rows: Iterable[Row], reading: Reading) -> Iterator[Numbered]:
    inferences = list(iter_inferences(rows, reading))
    first: dict[str, int] = {}
    for item in inferences:
        first.setdefault(item.premise, item.row)
    converted = triplets(inferences, NliOptions(task=reading.task))
    reading.notes["every entailment with a contradiction of its premise"] = None
    for reason, count in converted.dropped.items():
        reading.skipped.add(reason, converted.first[reason], count)
    for example in converted.examples:
        yield first[example.query], example


def _fits(names: frozenset[str]) -> bool:
    # premises and hypotheses with a score and no label are pairs with a similarity
    scored = "label" not in names and "gold_label" not in names and not names.isdisjoint(SCORE)
    if {"premise", "hypothesis"} <= names:
        return not scored
    return {"sentence1", "sentence2", "gold_label"} <= names


NLI = Dialect("nli", "premise, hypothesis, label", _fits, _read)
