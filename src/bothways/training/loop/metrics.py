"""metrics.jsonl: one JSON object per line. Accelerate's trackers get the same numbers.

A resumed run must not leave two versions of a step in the file. So on resume, lines after the
checkpoint are dropped before new ones are written.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from bothways.atomic import atomic_file


class MetricsLog:
    """Appends to `path` on the main process. Every process may call it."""

    def __init__(self, path: Path, accelerator: Accelerator) -> None:
        self.path, self.accelerator = path, accelerator
        self._stage, self._number, self._offset = "", 0, 0

    def begin(self, stage: str, number: int, after_step: int, offset: int) -> None:
        """Start or continue stage `number` (from 0).

        Lines of this stage after `after_step`, and of later stages, are dropped.

        Args:
            stage: name, written into every line.
            number: number of the stage.
            after_step: last step that stays.
            offset: steps of the stages before, so that trackers see one growing axis.
        """
        self._stage, self._number, self._offset = stage, number, offset
        if not self.accelerator.is_main_process or not self.path.exists():
            return
        kept = [
            line for line in self.read() if (line["number"], line["step"]) <= (number, after_step)
        ]
        with atomic_file(self.path) as part:
            part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Write one line for `step` of the present stage.

        Numbers that are not finite become null, because JSON has no others.
        """
        if self.accelerator.is_main_process:
            clean = {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in values.items()
            }
            line = {"stage": self._stage, "number": self._number, "step": step, **clean}
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
        numbers = {
            f"{self._stage}/{key}": value
            for key, value in values.items()
            if isinstance(value, (int, float))
        }
        self.accelerator.log(numbers, step=self._offset + step)

    def read(self) -> list[dict[str, Any]]:
        """Read all whole lines; see `read_metrics`."""
        return read_metrics(self.path)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a metrics file.

    Lines that are not whole are skipped. A killed run may leave one at the end.
    """
    lines: list[dict[str, Any]] = []
    for text in (
        path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    ):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and all(type(line.get(key)) is int for key in ("number", "step")):
            lines.append(line)
    return lines
