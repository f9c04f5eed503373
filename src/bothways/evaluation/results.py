"""Scores by task, with what a reader needs to trust them; saved as one JSON file that appears whole or not at all."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bothways.atomic import atomic_file
from bothways.errors import InputError
from bothways.foreign import why

_FORMAT = "bothways-results-1"
# a list of numbers, which goes on one line: thousands of items would take a line each. No JSON string holds a line break.
_NUMBERS = re.compile(r"\[\n([-+.,\deE\s]+)\n\s*\]")


@dataclass(frozen=True)
class Record:
    """One task's outcome.

    Attributes:
        kind: kind of task, e.g. "sts".
        main: name of the metric that stands for the task.
        metrics: finite numbers by name.
        details: longer findings, as JSON values.
        data: sha256 of the data's content.
        seconds: wall time of encoding and scoring.
        options: every option that could have changed the score, as JSON values.
    """

    kind: str
    main: str
    metrics: dict[str, float]
    details: dict[str, Any]
    data: str
    seconds: float
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Results(Mapping[str, dict[str, float]]):
    """A mapping from task name to its metrics; `records` and `provenance` hold the rest."""

    records: dict[str, Record]
    provenance: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, task: str) -> dict[str, float]:
        return self.records[task].metrics

    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def main(self) -> dict[str, float]:
        """Each task's main score."""
        return {name: record.metrics[record.main] for name, record in self.records.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything as JSON, atomically."""
        content = {
            "format": _FORMAT,
            "provenance": self.provenance,
            "tasks": {name: asdict(record) for name, record in self.records.items()},
        }
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        text = _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
        with atomic_file(path) as part:
            # a surrogate that came in through a file name has no UTF-8 form; its escape is what JSON would write
            part.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Results:
        """Read what `save` wrote.

        Raises:
            InputError: no such file, or not a results file of this format.
        """
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: not a results file ({why(error)})") from None
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise InputError(f"{path}: not a results file; expected format {_FORMAT!r}, as evaluate's save writes it")
        try:
            records = {name: _record(**record) for name, record in content["tasks"].items()}
            provenance = dict(content["provenance"])
            broken = next((name for name, record in records.items() if not math.isfinite(record.metrics[record.main])), None)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"{path}: results file with missing, unknown or wrong entries ({why(error)})") from None
        if broken is not None:
            raise InputError(f"{path}: main score of {broken!r} is not a finite number")
        return cls(records, provenance)


def _record(**fields: Any) -> Record:
    """A record as it was read, after a look at what its readers rely on.

    Raises:
        TypeError: an entry that is missing, unknown, or of another type.
    """
    record = Record(**fields)
    number = (int, float)
    expected: dict[str, Any] = {
        "kind": str,
        "main": str,
        "data": str,
        "seconds": number,
        "metrics": dict,
        "details": dict,
        "options": dict,
    }
    wrong = next((name for name, kind in expected.items() if not isinstance(getattr(record, name), kind)), None)
    if wrong is None and not all(isinstance(value, number) for value in record.metrics.values()):
        wrong = "metrics"
    if wrong is not None:
        raise TypeError(f"{wrong} is not what evaluate writes there")
    return record
