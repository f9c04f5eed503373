"""A page of docs/results/ that a script writes by itself: its tables, and how they came about.

A page names the command, the machine, the seeds and the date, and says how to read the spread. Only runs of full size
write one. A trial with few steps or other material has to name a folder with `--results DIR`.
"""

from __future__ import annotations

import datetime
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seeds import Found

from bothways.atomic import atomic_file
from bothways.bench.machine import machine
from bothways.provenance import versions

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
SPREAD = (
    "A cell is the mean ± the standard deviation over seeds. A difference is paired by seed: mean ± standard error, "
    "claimed if it is more than twice its error."
)
_OUTPUTS = ("--out", "--results", "--tokens")


@dataclass(frozen=True)
class Page:
    """Where a page is written, and what does not change from one row to the next.

    Attributes:
        file: the page. If None, nothing is written.
        title: its title.
        about: what is measured, and on which data the rows are compared or chosen.
        command: the command that makes it, see `command`.
        spread: how to read the cells.
    """

    file: Path | None
    title: str
    about: str
    command: str
    spread: str = SPREAD

    def write(self, tables: Sequence[Sequence[str]], found: Found) -> None:
        """Write the page with some Markdown tables, as a whole or not at all."""
        if self.file is None:
            return
        seeds = sorted({seed for runs in found.values() for seed in runs})
        facts = [
            f"`{self.command}`",
            f"Seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}. {self.spread}",
            f"Machine: {machine_line()}. {datetime.date.today().isoformat()}.",
        ]
        parts = [f"# {self.title}", self.about, *("\n".join(lines) for lines in tables if lines), *facts]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(self.file) as part:
            part.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def page_file(name: str, asked: Path | None, *, trial: bool) -> Path | None:
    """Return the file of a page: in the folder asked for, else in docs/results/ unless the run is a trial."""
    folder = asked if asked is not None else None if trial else RESULTS
    return None if folder is None else folder / f"{name}.md"


def command(script: str, arguments: Sequence[str]) -> str:
    """Write a command without its output folders, and with the names of files in place of absolute paths.

    For example, command("mntp.py", ["--seeds", "0", "--dev", "/data/dev.jsonl", "--out", "/tmp/x"]) is
    "benchmarks/mntp.py --seeds 0 --dev dev.jsonl".
    """
    words, skip = [f"benchmarks/{script}"], False
    for word in arguments:
        if skip or word in _OUTPUTS:
            skip = not skip
        elif not word.startswith(tuple(f"{name}=" for name in _OUTPUTS)):
            words.append(re.sub(r"(^|[:=])/(?!/)(?:[^/]+/)*", r"\1", word))
    return shlex.join(words)


def machine_line() -> str:
    """Return the processor, cores, memory and libraries of this machine in a line."""
    facts, known = machine(), versions()
    libraries = ", ".join(f"{name} {known[name]}" for name in ("torch", "transformers", "peft") if name in known)
    return f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {libraries}"
