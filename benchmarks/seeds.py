"""Rows x seeds: figures kept in files, differences that are paired by seed, tables in Markdown and JSON."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import bothways as bw
from bothways.atomic import atomic_file
from bothways.training.loop.metrics import read_metrics

#: Figures by row, and by seed within a row.
Found = Mapping[str, Mapping[int, Mapping[str, Any]]]


class Difference(NamedTuple):
    """A row minus another one, over the seeds that both have."""

    mean: float
    error: float | None
    seeds: int

    @property
    def claimed(self) -> bool:
        """True if the difference is more than twice its standard error. One seed has none."""
        return self.error is not None and abs(self.mean) > 2 * self.error

    def __str__(self) -> str:
        if self.error is None:
            return f"{self.mean:+.1f} (one seed)"
        return f"{self.mean:+.1f} ± {self.error:.1f} ({self.seeds} seeds, {'claimed' if self.claimed else 'not claimed'})"


def difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference | None:
    """Mean and standard error of first - second by seed, or None if they share none.

    For example difference({0: 3.0, 1: 5.0}, {0: 1.0, 1: 1.0}) has mean 3 and error 1.
    """
    paired = [first[seed] - second[seed] for seed in first if seed in second]
    if not paired:
        return None
    error = statistics.stdev(paired) / len(paired) ** 0.5 if len(paired) > 1 else None
    return Difference(statistics.mean(paired), error, len(paired))


def cell(values: Sequence[float], form: str = "{:.1f}") -> str:
    """Mean, and the standard deviation over seeds if there are several."""
    mean = form.format(statistics.mean(values))
    return mean if len(values) == 1 else f"{mean} ± {form.format(statistics.stdev(values))}"


def comparisons(found: Found, pairs: Sequence[tuple[str, str]], columns: Sequence[str]) -> list[str]:
    """A Markdown table with a line for each pair (first, second) of rows that were both measured."""
    lines = [f"| difference | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for first, second in pairs:
        if not (first in found and second in found):
            continue
        cells = []
        for column in columns:
            values = [{seed: run[column] for seed, run in found[row].items() if column in run} for row in (first, second)]
            cells.append(str(difference(*values) or ""))
        lines.append(f"| {first} − {second} | {' | '.join(cells)} |")
    return lines if len(lines) > 2 else []


def kept_before(file: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Figures of an earlier call that asked for the same, None if there are none."""
    if not file.is_file():
        return None
    before: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return before if before.get("asked") == json.loads(json.dumps(asked)) else None


def kept(file: Path, asked: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of an earlier call that asked for the same, else made now and written to the file."""
    before = kept_before(file, asked)
    if before is not None:
        return before
    found = {"asked": json.loads(json.dumps(asked)), **make()}
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as part:
        part.write_text(json.dumps(found, indent=2), encoding="utf-8")
    return found


def seeds_of(folder: Path, asked: Sequence[int]) -> list[int]:
    """Seeds of kept figures in a folder, in files such as row-seed3.json, and those asked for, in order."""
    kept_ones = {int(found[1]) for file in folder.glob("*.json") if (found := re.search(r"-seed(\d+)\b", file.name))}
    return sorted(kept_ones | set(asked))


def write_table(out: Path, name: str, lines: Sequence[str], found: Found) -> str:
    """Write OUT/NAME.md, and the figures behind it as OUT/NAME.json. Returns the Markdown."""
    text = "\n".join(lines) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    for suffix, content in ((".md", text), (".json", json.dumps(found, indent=2) + "\n")):
        with atomic_file(out / f"{name}{suffix}") as part:
            part.write_text(content, encoding="utf-8")
    return text


class Budget:
    """Tokens that a call may still train on. A training that is planned to need more is not started."""

    def __init__(self, tokens: float | None) -> None:
        self.left = tokens
        self.refused: list[str] = []

    def allows(self, name: str, planned: int) -> bool:
        """Take the tokens of a training from the budget, or note that it does not fit."""
        if self.left is not None and planned > self.left:
            self.refused.append(name)
            return False
        if self.left is not None:
            self.left -= planned
        return True


def trained(recipe: bw.Recipe, folder: Path) -> dict[str, Any]:
    """Train what is not trained yet, and give the recipe's tokens and minutes, as the trainer counted them."""
    bw.train(recipe, folder, resume=folder.exists())
    stages = json.loads((folder / "bothways.json").read_text(encoding="utf-8"))["stages"][-len(recipe.stages) :]
    return {"tokens": sum(each["tokens"] for each in stages), "minutes": sum(each["seconds"] for each in stages) / 60}


def finished(folder: Path) -> bool:
    """True if a training has ended. A killed one leaves checkpoints alone, and resumes."""
    return (folder / "bothways.json").is_file()


def metrics(folder: Path, figure: str) -> dict[int, float]:
    """A figure of metrics.jsonl by step, for a recipe of one stage."""
    return {line["step"]: line[figure] for line in read_metrics(folder / "metrics.jsonl") if line.get(figure) is not None}
