"""NLI tables as triplets: a premise, a hypothesis it entails, and one that contradicts it.

Supervised SimCSE (arXiv 2104.08821, section 4) takes entailment pairs as positives (84.9 on the
STS-B development set) and the contradiction of the same premise as a hard negative (86.2). A
premise that has only one of the two does not make an example. Neutral hypotheses are not used,
because as negatives they lowered the score (85.3).
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from bothways.data.columns import NLI
from bothways.data.conversion.converted import Converted
from bothways.data.conversion.options import NliOptions, Pairing
from bothways.data.decontamination import Overlap
from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_row import Fields, Reading
from bothways.data.labeled.labeled_text import iter_source
from bothways.data.rows import Row, is_table
from bothways.errors import InputError
from bothways.nearest import meant

_NAMES = ("entailment", "neutral", "contradiction")
# the numbers of snli, multi_nli, xnli and klue on the hub; -1 and "-" mean that annotators disagree
_LABELS = {**dict(zip("012", _NAMES)), "-1": None, "-": None}


@dataclass(frozen=True)
class Inference:
    """One row of an NLI table. `label` is entailment, neutral or contradiction."""

    premise: str
    hypothesis: str
    label: str
    row: int = 0


def read_inferences(source: str | Path, converted: Converted) -> list[Inference]:
    """Read an NLI table from a file, folder or hub dataset.

    Skipped rows are counted in `converted`.

    Raises:
        InputError: a missing column, a value that is not a text, or an unknown label. Names the
            file and the row.
        SourceError: the source cannot be found.
    """
    found: list[Inference] = []
    for name, rows in iter_source(source):
        reading = Reading(name, "", cells=is_table(Path(name)))
        found += iter_inferences(rows, reading)
        for reason, count in reading.skipped.counts.items():
            converted.rows += count
            converted.drop(reason, reading.skipped.first[reason], count)
    return found


def iter_inferences(rows: Iterable[Row], reading: Reading) -> Iterator[Inference]:
    """Yield the rows that have both texts and a gold label. The others count in `reading.skipped`.

    Raises:
        InputError: a missing column, a value that is not a text, or an unknown label.
    """
    for number, row in rows:
        fields = Fields(number, row, reading)
        premise, hypothesis = fields.text(*NLI[0]), fields.text(*NLI[1])
        label = _label(fields, row[fields.column(*NLI[2])])
        if label is None:
            reading.skipped.add("without a gold label", number)
        elif not premise or not hypothesis:
            reading.skipped.add("with an empty text", number)
        else:
            yield Inference(premise, hypothesis, label, number)


def triplets(inferences: Sequence[Inference], options: NliOptions | None = None) -> Converted:
    """Return examples of the premises that have both an entailment and a contradiction.

    Args:
        inferences: the rows, in any order.
        options: if None, the defaults.

    Returns:
        Examples in the order of their premises. If a premise makes several, they share a label, so
        that they are not each other's negatives.

    Raises:
        InputError: the pairing is unknown.
    """
    options = options or NliOptions()
    if options.pairing not in ("entailment", "one_to_one", "premise"):
        raise InputError(
            f"pairing: {options.pairing!r}; {meant(options.pairing, get_args(Pairing))}expected 'entailment', 'one_to_one' or 'premise'"
        )
    converted = Converted(rows=len(inferences))
    groups = _by_premise(inferences, converted, options.without)
    for premise, (row, right, wrong) in groups.items():
        if not right or not wrong:
            missing = "entailment" if not right else "contradiction"
            count = len(right) + len(wrong)
            converted.drop(f"hypotheses of a premise without {missing}", row, count)
            continue
        dealt = _deal(premise, right, wrong, options.pairing, options.seed)
        used = {text for sides in dealt for side in sides for text in side}
        if len(used) < len(right) + len(wrong):
            unused = len(right) + len(wrong) - len(used)
            converted.drop("hypotheses without a counterpart", row, unused)
        label = None
        if len(dealt) > 1:
            label = hashlib.sha256(premise.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        converted.examples += [
            Example(
                premise,
                positives,
                negatives,
                query_prompt=options.prompts.query,
                document_prompt=options.prompts.document,
                task=options.task,
                label=label,
            )
            for positives, negatives in dealt
        ]
    return converted


def _by_premise(
    inferences: Sequence[Inference], converted: Converted, without: Overlap | None
) -> dict[str, tuple[int, list[str], list[str]]]:
    """Return premise -> (row, entailments, contradictions), each hypothesis once.

    A hypothesis that is both is left out.
    """
    labels: dict[tuple[str, str], set[str]] = {}
    for item in inferences:
        labels.setdefault((item.premise, item.hypothesis), set()).add(item.label)
    groups: dict[str, tuple[int, list[str], list[str]]] = {}
    seen: set[tuple[str, str]] = set()
    for item in inferences:
        pair = item.premise, item.hypothesis
        if item.label == "neutral":
            converted.drop("neutral", item.row)
        elif {"entailment", "contradiction"} <= labels[pair]:
            converted.drop("with contradicting labels", item.row)
        elif pair in seen:
            converted.drop("repeated", item.row)
        elif not (without and converted.overlaps(without.first(pair), item.row)):
            seen.add(pair)
            _, right, wrong = groups.setdefault(item.premise, (item.row, [], []))
            (right if item.label == "entailment" else wrong).append(item.hypothesis)
    return groups


def _deal(
    premise: str, right: list[str], wrong: list[str], pairing: Pairing, seed: int
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    if pairing == "premise":
        return [(tuple(right), tuple(wrong))]
    # the seed decides the order in which the contradictions of a premise are dealt
    order = random.Random(f"{seed}:{premise}").sample(wrong, len(wrong))
    count = len(right) if pairing == "entailment" else min(len(right), len(wrong))
    return [((right[place],), (order[place % len(order)],)) for place in range(count)]


def _label(fields: Fields, value: Any) -> str | None:
    """Return the name of a label, or None if the annotators disagree."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and math.isfinite(value) and value == int(value):
        value = str(int(value))
    name = value.strip().lower() if isinstance(value, str) else None
    if name in _NAMES:
        return name
    if name in _LABELS:
        if name.isdecimal():
            note = "labels 0, 1, 2 as entailment, neutral, contradiction"
            fields.reading.notes[note] = None
        return _LABELS[name]
    shown = "nothing" if value is None or value == "" else repr(value)
    raise InputError(
        f"{fields.where}: label {shown}; expected {', '.join(_NAMES)}, or 0, 1, 2 in this order, or - for none"
    )
