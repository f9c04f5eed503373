"""The record of benchmarks/gpu.py: each figure is tried by itself, within the time of its section.

A figure that cannot be taken has its reason in the table, and costs no other one.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch


class OutOfTime(Exception):
    """The time of a section is over."""


class Record:
    """Figures and reasons, written to a JSON file after each one.

    A section is a method of that name. It returns figures, or adds them with `part`.
    """

    def __init__(self, facts: dict[str, Any], out: Path | None = None) -> None:
        self.record: dict[str, Any] = {**facts, "failed": {}}
        self.out = out
        self.end = float("inf")  # of the present section, as time.monotonic has it
        self.ticking = False

    def run(self, section: str, budget: float) -> None:
        """Take the figures of a section within a number of seconds."""
        self.free()
        start = time.monotonic()
        self.end = start + budget
        self.part(section, "", lambda: getattr(self, section)())
        self.record.setdefault("section_seconds", {})[section] = round(time.monotonic() - start, 1)
        self.write()

    def part(self, section: str, name: str, call: Callable[[], dict[str, Any] | None]) -> None:
        """Add the figures that a call returns to a section, or the reason why there are none."""
        try:
            with self.limited():
                found = call()
        except Exception as error:  # one figure must not cost the others
            self.fail(section, name, error)
        else:
            self.record.setdefault(section, {}).update(found or {})
        self.write()

    def fail(self, section: str, name: str, error: Exception) -> None:
        reason = " ".join(str(error).split())[:200]
        self.record["failed"][": ".join(filter(None, (section, name)))] = f"{type(error).__name__}: {reason}"

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Raise OutOfTime inside the block when the section's time is over. A part inside another has the same timer."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise OutOfTime("no time was left in this section")
        if self.ticking or left == float("inf") or not hasattr(signal, "setitimer"):
            yield
            return

        def stop(*_: object) -> None:
            raise OutOfTime(f"was stopped, because the section's {left:.0f} s were over")

        before, self.ticking = signal.signal(signal.SIGALRM, stop), True
        signal.setitimer(signal.ITIMER_REAL, left)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            self.ticking = False

    def halving(self, count: int, call: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
        """Call with a number of rows, and with half as many as long as memory is too small."""
        while True:
            with suppress(torch.OutOfMemoryError):
                return {**call(count), "rows": count}
            self.free()
            if count == 1:
                raise MemoryError("one row does not fit")
            count //= 2

    def free(self) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def write(self) -> None:
        """Write the record as it is now."""
        if self.out is not None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            part = self.out.with_name(f"{self.out.name}.part")
            part.write_text(json.dumps(self.record, indent=1) + "\n")
            os.replace(part, self.out)


def table(record: dict[str, Any], sections: Sequence[str]) -> list[str]:
    """A row for each figure, and for each reason why there is none."""
    rows = ["", f"{record['device']}, torch {record['torch']}", "", "| section | figure | value |", "|---|---|---|"]
    for section in (each for each in sections if each in record):
        for name, value in record[section].items():
            shown = "not measured" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
            rows.append(f"| {section} | {name} | {shown} |")
    for place, reason in record["failed"].items():
        section, _, name = place.partition(": ")
        rows.append(f"| {section} | {name or 'all'} | {reason.replace('|', '/')} |")
    return rows
