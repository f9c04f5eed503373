"""What a conversion gives: examples, and an account of everything that did not become one."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bothways.atomic import atomic_file
from bothways.data.decontamination import Match
from bothways.data.labeled.example import Example
from bothways.errors import InputError

_SHOWN = 2  # samples of removed texts in the account, of exact and of near copies each


@dataclass
class Converted:
    """Examples and the account of their making.

    Attributes:
        examples: what was made.
        rows: rows, pairs or queries that went in.
        dropped: reason -> how many of them did not become part of an example.
        first: reason -> the row of the first of them, where rows have numbers; else 0.
        matches: texts that evaluation data holds too, with what they matched.
    """

    examples: list[Example] = field(default_factory=list)
    rows: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    matches: list[Match] = field(default_factory=list)

    def drop(self, reason: str, row: int = 0, count: int = 1) -> None:
        """Count what is left out."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count
        self.first.setdefault(reason, row)

    def overlaps(self, match: Match | None, row: int = 0) -> bool:
        """Whether a row has to go because evaluation data holds its text; kept in the account if so."""
        if match is None:
            return False
        self.drop("held by evaluation data" if match.exact else "close to evaluation data", row)
        self.matches.append(match)
        return True

    def summary(self) -> dict[str, Any]:
        """The account, JSON-ready."""
        count = len(self.examples)
        labels = Counter(example.label for example in self.examples if example.label is not None)
        return {
            "rows": self.rows,
            "examples": count,
            "tasks": dict(Counter(example.task for example in self.examples)),
            "positives": round(sum(len(example.positives) for example in self.examples) / count, 2) if count else 0.0,
            "negatives": round(sum(len(example.negatives) for example in self.examples) / count, 2) if count else 0.0,
            "labels": len(labels),
            "dropped": dict(self.dropped),
            "overlap_samples": [match._asdict() for match in self._samples()],
        }

    def lines(self) -> list[str]:
        """The account for people."""
        facts = self.summary()
        lines = [
            f"{facts['examples']} examples from {facts['rows']} rows; on average {facts['positives']:g} positives and "
            f"{facts['negatives']:g} negatives" + (f"; {facts['labels']} labels" if facts["labels"] else "")
        ]
        lines += [f"  left out: {count} {reason}" for reason, count in self.dropped.items()]
        lines += [f"  {match}" for match in self._samples()]
        return lines

    def _samples(self) -> list[Match]:
        return [match for exact in (True, False) for match in [m for m in self.matches if m.exact is exact][:_SHOWN]]


def example_row(example: Example) -> dict[str, Any]:
    """An example as the row that `read_examples` reads back equal; what is empty is left out."""
    row: dict[str, Any] = {"query": example.query, "pos": list(example.positives), "neg": list(example.negatives)}
    if example.positive_scores is not None:
        row["pos_scores"] = list(example.positive_scores)
    if example.negative_scores is not None:
        row["neg_scores"] = list(example.negative_scores)
    if example.query_prompt or example.document_prompt:
        row |= {"query_prompt": example.query_prompt, "document_prompt": example.document_prompt}
    if example.task:
        row["task"] = example.task
    if example.label is not None:
        row["label"] = example.label
    if example.labels:
        row["labels"] = list(example.labels)
    for key, labels in (("pos_labels", example.positive_labels), ("neg_labels", example.negative_labels)):
        if labels is not None:
            row[key] = [list(each) for each in labels]
    return row


def check_name(path: str | Path) -> Path:
    """The path of a file that examples can be written to.

    Raises:
        InputError: a name that is not .jsonl or .jsonl.gz.
    """
    path = Path(path)
    if not path.name.lower().endswith((".jsonl", ".jsonl.gz")):
        raise InputError(f"{path}: examples are written as .jsonl or .jsonl.gz; give the file such a name")
    return path


def write_examples(examples: Iterable[Example], path: str | Path) -> int:
    """Write `{query, pos, neg, …}` JSON lines, gzipped for a name ending in .gz; the file appears whole or not at all.

    Returns:
        The number of examples.

    Raises:
        InputError: a name that is not .jsonl or .jsonl.gz, or a text with a lone surrogate, which UTF-8 cannot hold.
        OutputError: the file cannot be written.
    """
    path = check_name(path)
    count = 0
    with atomic_file(path) as part, part.open("wb") as raw:
        # no name and no time in the archive: the same examples give the same bytes
        packed = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.name.lower().endswith(".gz") else None
        stream = packed or raw
        for count, example in enumerate(examples, start=1):
            try:
                stream.write(json.dumps(example_row(example), ensure_ascii=False).encode("utf-8") + b"\n")
            except UnicodeEncodeError:
                raise InputError(f"example {count}: a lone surrogate, which is no character; repair the text") from None
        if packed is not None:
            packed.close()
    return count
