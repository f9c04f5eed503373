"""The account of one file of labeled data: rows skipped, texts repaired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bothways.data.columns import Surrogates
from bothways.data.labeled.templates import TEMPLATES, Template

WATCHED = 100
"""The number of rows for which `Reading` notes which columns a dialect reads."""


class Tally:
    """Counts of rows or texts by reason, with the first row of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.first: dict[str, int] = {}

    def add(self, reason: str, row: int, count: int = 1) -> None:
        """Count `count` more cases of `reason`, the first of them in `row`."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        self.first.setdefault(reason, row)

    def __str__(self) -> str:
        return ", ".join(
            f"{count} {reason} (first: row {self.first[reason]})"
            for reason, count in self.counts.items()
        )


@dataclass
class Reading:
    """One file that is being read.

    Attributes:
        label: the name of the file, for messages.
        task: the task of rows that do not name one.
        template: the template of an instruction that a row holds.
        cells: True if values are cells of a table (CSV, TSV), which writes a list as text.
        surrogates: "repair" for training, "refuse" for evaluation, which changes no text.
        skipped: the rows that were skipped.
        repaired: the texts that were left out or changed in rows that were kept.
        notes: remarks for the log line, in order, each once.
        read: the columns that were looked at in the first rows.
        rows: the number of rows that were opened.
    """

    label: str
    task: str
    template: Template = TEMPLATES["none"]
    cells: bool = False
    surrogates: Surrogates = "repair"
    skipped: Tally = field(default_factory=Tally)
    repaired: Tally = field(default_factory=Tally)
    notes: dict[str, None] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    rows: int = 0

    def opened(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Count a row, and return it. The first rows note which of their columns are looked at."""
        self.rows += 1
        return _Watched(row, self.read) if self.rows <= WATCHED else row


class _Watched(Mapping[str, Any]):
    """A row that notes which of its columns are looked at."""

    def __init__(self, row: Mapping[str, Any], read: set[str]) -> None:
        self._row, self._read = row, read

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return self._row[name]

    def __contains__(self, name: object) -> bool:
        return name in self._row

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)
