"""The result of a conversion: examples, and counts of everything that did not become one."""

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

_SHOWN = 2  # the number of exact and of near copies in the account


@dataclass
class Converted:
    """Examples and the account of the rows behind them.

    Attributes:
        examples: the examples.
        rows: the number of rows, pairs or queries that were read.
        dropped: reason -> the number of rows that did not become part of an example.
        first: reason -> the first of those rows, or 0 if rows have no numbers.
        matches: texts that evaluation data holds too, with the texts they match.
    """

    examples: list[Example] = field(default_factory=list)
    rows: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    matches: list[Match] = field(default_factory=list)

    def drop(self, reason: str, row: int = 0, count: int = 1) -> None:
        """Count rows that are left out."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count
        self.first.setdefault(reason, row)

    def overlaps(self, match: Match | None, row: int = 0) -> bool:
        """Return whether evaluation data holds the text of a row, and count the row if so."""
        if match is None:
            return False
        self.drop("held by evaluation data" if match.exact else "close to evaluation data", row)
        self.matches.append(match)
        return True

    def summary(self) -> dict[str, Any]:
        """Return the account as JSON-ready values."""
        count = len(self.examples)
        labels = Counter(example.label for example in self.examples if example.label is not None)
        return {
            "rows": self.rows,
            "examples": count,
            "tasks": dict(Counter(example.task for example in self.examples)),
            "positives": round(sum(len(example.positives) for example in self.examples) / count, 2)
            if count
            else 0.0,
            "negatives": round(sum(len(example.negatives) for example in self.examples) / count, 2)
            if count
            else 0.0,
            "labels": len(labels),
            "dropped": dict(self.dropped),
            "overlap_samples": [match._asdict() for match in self._samples()],
        }

    def lines(self) -> list[str]:
        """Return the account as lines for people."""
        facts = self.summary()
        lines = [
            f"{facts['examples']} examples from {facts['rows']} rows; on average {facts['positives']:g} positives and "
            f"{facts['negatives']:g} negatives"
            + (f"; {facts['labels']} labels" if facts["labels"] else "")
        ]
        lines += [f"  left out: {count} {reason}" for reason, count in self.dropped.items()]
        lines += [f"  {match}" for match in self._samples()]
        return lines

    def _samples(self) -> list[Match]:
        return [
            match
            for exact in (True, False)
            for match in [m for m in self.matches if m.exact is exact][:_SHOWN]
        ]


def example_row(example: Example) -> dict[str, Any]:
    """Return an example as a row that `read_examples` reads back, without its empty fields."""
    row: dict[str, Any] = {
        "query": example.query,
        "pos": list(example.positives),
        "neg": list(example.negatives),
    }
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
    for key, labels in (
        ("pos_labels", example.positive_labels),
        ("neg_labels", example.negative_labels),
    ):
        if labels is not None:
            row[key] = [list(each) for each in labels]
    return row


def check_name(path: str | Path) -> Path:
    """Return the path of a file that examples can be written to.

    Raises:
        InputError: the name does not end in .jsonl or .jsonl.gz.
    """
    path = Path(path)
    if not path.name.lower().endswith((".jsonl", ".jsonl.gz")):
        raise InputError(
            f"{path}: examples are written as .jsonl or .jsonl.gz; give the file such a name"
        )
    return path


def write_examples(examples: Iterable[Example], path: str | Path) -> int:
    """Write examples as JSON lines `{query, pos, neg, …}`, gzipped if the name ends in .gz.

    The file appears whole or not at all.

    Returns:
        The number of examples.

    Raises:
        InputError: the name does not end in .jsonl or .jsonl.gz, or a text holds a lone surrogate,
            which UTF-8 cannot encode.
        OutputError: the file cannot be written.
    """
    path = check_name(path)
    count = 0
    with atomic_file(path) as part, part.open("wb") as raw:
        # without a name and a time in the archive, the same examples give the same bytes
        packed = (
            gzip.GzipFile("", "wb", fileobj=raw, mtime=0)
            if path.name.lower().endswith(".gz")
            else None
        )
        stream = packed or raw
        for count, example in enumerate(examples, start=1):
            try:
                stream.write(
                    json.dumps(example_row(example), ensure_ascii=False).encode("utf-8") + b"\n"
                )
            except UnicodeEncodeError:
                raise InputError(
                    f"example {count}: a lone surrogate, which is not a character; repair the text"
                ) from None
        if packed is not None:
            packed.close()
    return count
