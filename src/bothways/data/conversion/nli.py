"""NLI tables as triplets: a premise, a hypothesis it entails, one it contradicts.

Supervised SimCSE (arXiv 2104.08821, §4): entailment pairs as positives (84.9 on STS-B dev), and the contradiction of the same premise
as a hard negative (86.2). Premises with only one of the two make no example; neutral hypotheses are not used, since they lowered the
score as negatives (85.3).
"""

from __future__ import annotations

import hashlib
import logging
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bothways.data.columns import NLI
from bothways.data.conversion.converted import Converted
from bothways.data.decontamination import Overlap
from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_row import Fields, Reading
from bothways.data.labeled.labeled_text import iter_source
from bothways.data.labeled.templates import Prompts
from bothways.data.rows import Row, is_table
from bothways.errors import InputError

log = logging.getLogger("bothways")

Pairing = Literal["entailment", "one_to_one", "premise"]
# numbers as the hub's snli, multi_nli, xnli and klue have them; -1 and "-" mean that the annotators did not agree
_LABELS = {"0": "entailment", "1": "neutral", "2": "contradiction", "-1": None, "-": None}
_NAMES = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class Inference:
    """One row; `label` is entailment, neutral or contradiction."""

    premise: str
    hypothesis: str
    label: str
    row: int = 0


def read_inferences(source: str | Path, converted: Converted) -> list[Inference]:
    """Read an NLI table from a file, folder or hub dataset; rows passed over are counted in `converted`.

    Raises:
        InputError: a missing column, a value that is no text, or an unknown label; file and row.
        SourceError: no such source.
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
    """Rows of an NLI table that have both texts and a gold label; the others are counted in `reading.skipped`.

    Raises:
        InputError: a missing column, a value that is no text, or an unknown label.
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


def triplets(
    inferences: Sequence[Inference],
    *,
    pairing: Pairing = "entailment",
    seed: int = 0,
    task: str = "nli",
    prompts: Prompts | None = None,
    without: Overlap | None = None,
) -> Converted:
    """Examples of premises that have both an entailment and a contradiction.

    Args:
        inferences: rows, in any order.
        pairing: "entailment" uses every entailment once, with the contradictions of its premise in turn, again from the first
            where they are fewer; "one_to_one" uses every hypothesis at most once; "premise" makes one example a premise, of all
            its entailments and contradictions, of which training draws.
        seed: of the order in which a premise's contradictions are dealt out.
        task: of the examples.
        prompts: of premises and hypotheses.
        without: evaluation texts, which are used as neither.

    Returns:
        Examples in the order of their premises. Where a premise makes several, they share a label, so that they are not each
        other's negatives.

    Raises:
        InputError: `pairing` unknown.
    """
    if pairing not in ("entailment", "one_to_one", "premise"):
        raise InputError(f"pairing: {pairing!r}; expected 'entailment', 'one_to_one' or 'premise'")
    converted = Converted(rows=len(inferences))
    groups = _by_premise(inferences, converted, without)
    query_prompt, document_prompt = prompts or Prompts()
    for premise, (row, right, wrong) in groups.items():
        if not right or not wrong:
            missing = "entailment" if not right else "contradiction"
            converted.drop(f"hypotheses of a premise without {missing}", row, len(right) + len(wrong))
            continue
        dealt = _deal(premise, right, wrong, pairing, seed)
        used = {text for _, negatives in dealt for text in negatives} | {text for positives, _ in dealt for text in positives}
        if len(used) < len(right) + len(wrong):
            converted.drop("hypotheses without a counterpart", row, len(right) + len(wrong) - len(used))
        label = hashlib.sha256(premise.encode("utf-8", "surrogatepass")).hexdigest()[:16] if len(dealt) > 1 else None
        converted.examples += [
            Example(
                premise,
                positives,
                negatives,
                query_prompt=query_prompt,
                document_prompt=document_prompt,
                task=task,
                label=label,
            )
            for positives, negatives in dealt
        ]
    return converted


def _by_premise(
    inferences: Sequence[Inference], converted: Converted, without: Overlap | None
) -> dict[str, tuple[int, list[str], list[str]]]:
    """Premise -> (row, entailments, contradictions), each hypothesis once; those that are both are neither."""
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
    order = random.Random(f"{seed}:{premise}").sample(wrong, len(wrong))
    count = len(right) if pairing == "entailment" else min(len(right), len(wrong))
    return [((right[place],), (order[place % len(order)],)) for place in range(count)]


def _label(fields: Fields, value: Any) -> str | None:
    """A name, or None for no agreement among the annotators."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value == int(value):
        value = str(int(value))
    name = value.strip().lower() if isinstance(value, str) else None
    if name in _NAMES:
        return name
    if name in _LABELS:
        if name.isdecimal():
            fields.reading.notes["labels 0, 1, 2 as entailment, neutral, contradiction"] = None
        return _LABELS[name]
    shown = "nothing" if value is None or value == "" else repr(value)
    raise InputError(f"{fields.where}: label {shown}; expected {', '.join(_NAMES)}, or 0, 1, 2 in this order, or - for none")
