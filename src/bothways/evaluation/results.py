"""Scores by task, with everything a reader needs to trust them.

They are saved as one JSON file, which is replaced as a whole or not at all.
"""

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
# A list of numbers, which is written on one line. Otherwise thousands of items would take a line
# each. A JSON string never contains a line break.
_NUMBERS = re.compile(r"\[\n([-+.,\deE\s]+)\n\s*\]")


@dataclass(frozen=True)
class Record:
    """The result of one task.

    Attributes:
        kind: kind of task, for example "sts".
        main: name of the metric that represents the task.
        metrics: finite numbers by name.
        details: longer results, as JSON values.
        data: sha256 of the content of the data.
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
    """A mapping from task names to metrics.

    Attributes:
        records: the whole result of each task, by task name.
        provenance: model, command, versions and date of the run.
    """

    records: dict[str, Record]
    provenance: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, task: str) -> dict[str, float]:
        """Return the metrics of a task."""
        return self.records[task].metrics

    def __iter__(self) -> Iterator[str]:
        """Iterate over the task names."""
        return iter(self.records)

    def __len__(self) -> int:
        """Return the number of tasks."""
        return len(self.records)

    @property
    def main(self) -> dict[str, float]:
        """Return each task's main score."""
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
            # A surrogate from a file name has no UTF-8 form. Its escape is valid JSON.
            part.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Results:
        """Read a file that `save` wrote.

        Raises:
            InputError: if the file does not exist, or is not a results file of this format.
        """
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: not a results file ({why(error)})") from None
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise InputError(
                f"{path}: not a results file; expected the format {_FORMAT!r}, which `bothways evaluate --out` writes"
            )
        try:
            records = {name: _record(**record) for name, record in content["tasks"].items()}
            provenance = dict(content["provenance"])
            broken = next(
                (
                    name
                    for name, record in records.items()
                    if not math.isfinite(record.metrics[record.main])
                ),
                None,
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(
                f"{path}: a results file with missing, unknown or wrong entries ({why(error)})"
            ) from None
        if broken is not None:
            raise InputError(f"{path}: the main score of {broken!r} is not a finite number")
        return cls(records, provenance)


def _record(**fields: Any) -> Record:
    """Make a record from the entries of a file, after checking the types that readers rely on.

    Raises:
        TypeError: if an entry is missing, unknown, or of another type.
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
    wrong = next(
        (name for name, kind in expected.items() if not isinstance(getattr(record, name), kind)),
        None,
    )
    if wrong is None and not all(isinstance(value, number) for value in record.metrics.values()):
        wrong = "metrics"
    if wrong is not None:
        raise TypeError(f"{wrong} has another type than evaluate writes")
    return record
