"""Long evaluations continue where they stopped: each finished task stands in the results file, and is taken from there.

A results file is about one model under one seed. A task counts as finished if it was measured on the same data with the same options;
anything else is refused rather than mixed, because a reader of the file could not see it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bothways.errors import InputError, OutputError
from bothways.evaluation.provenance import command_line
from bothways.evaluation.results import Record, Results
from bothways.evaluation.task import Task
from bothways.locks import is_stream
from bothways.provenance import versions

log = logging.getLogger("bothways")


class Ledger:
    """The results of a run while it goes on: what is finished, what is to come, and the file that follows it."""

    def __init__(
        self,
        names: Sequence[str],
        told: Mapping[str, Any],
        *,
        out: str | os.PathLike[str] | None = None,
        known: Mapping[str, Record] | None = None,
        earlier: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Start with nothing finished but what is known.

        Args:
            names: the tasks asked for, in order.
            told: provenance that holds for the whole run.
            out: the results file; None for none.
            known, earlier: what `finished` gave.

        Raises:
            InputError, OutputError: nothing can be written at `out`; found out now, not after hours.
        """
        self.names, self.told, self.out, self.earlier = list(names), dict(told), out, list(earlier)
        self.known = dict(known or {})
        self.done = {name: self.known[name] for name in self.names if name in self.known}
        for name in self.done:
            log.info("%s: finished earlier, taken from %s", name, out)
        if out is not None:
            _check_place(Path(out))

    def add(self, name: str, record: Record) -> None:
        """Note a finished task, on the disk too."""
        self.done[name] = record
        if self.out is not None:
            self.results().save(self.out)

    def results(self) -> Results:
        """The tasks asked for, as far as they are finished and in their order, then the others that the file held."""
        order = [name for name in self.names if name in self.done]
        records = {name: self.done[name] for name in order} | {n: r for n, r in self.known.items() if n not in self.names}
        pending = [name for name in self.names if name not in self.done]
        seconds = round(sum(record.seconds for record in records.values()), 3)
        run = {"seconds": seconds, "versions": versions(), "command": command_line(), "pending": pending}
        return Results(records, {**self.told, **run, **({"earlier": self.earlier} if self.earlier else {})})


def finished(
    path: str | os.PathLike[str], tasks: Sequence[Task], *, model: Mapping[str, Any], seed: int
) -> tuple[dict[str, Record], list[dict[str, Any]]]:
    """What an earlier run left in a results file.

    Args:
        path: the file; one that is not there yet holds nothing.
        tasks: what is to be measured now.
        model: as `provenance.describe` has it.
        seed: of the run.

    Returns:
        The file's records by task name, those of `tasks` checked against them; and one entry for each earlier run: when, by which
        command, under which versions.

    Raises:
        InputError: the file is no results file, or is about another model, seed, or (in a task asked for) other data or options.
    """
    if not Path(path).exists():
        return {}, []
    results = Results.load(path)
    told = results.provenance
    _refuse_other_model(path, told.get("model", {}), model)
    if told.get("seed") != seed:
        raise InputError(f"{path}: was measured with seed {told.get('seed')}, not {seed}; give the same seed, or another file")
    for task in tasks:
        record = results.records.get(task.name)
        if record is None:
            continue
        if record.kind != task.kind or record.data != task.fingerprint:
            raise InputError(
                f"{path}: {task.name!r} was measured on other data there; give another file, or the task another name="
            )
        changed = _changed(record.options, task.settings)
        if changed:
            raise InputError(
                f"{path}: {task.name!r} was measured there with {changed}; give another file, or the task another name="
            )
    if told.get("versions") != versions():
        log.warning("%s: finished tasks were measured under other library versions; they are kept", path)
    run = {key: told[key] for key in ("date", "command", "versions") if key in told}
    return results.records, [*told.get("earlier", []), {**run, "tasks": list(results.records)}]


def _refuse_other_model(path: str | os.PathLike[str], there: Any, here: Mapping[str, Any]) -> None:
    there = there if isinstance(there, Mapping) else {}
    if there.get("fingerprint") == here["fingerprint"]:
        return
    facts = ("class", "name", "direction", "dtype", "stages")
    differ = [f"{fact} {there.get(fact)} there, {here.get(fact)} here" for fact in facts if there.get(fact) != here.get(fact)]
    why = "; ".join(differ) or "other weights or settings" if "fingerprint" in there else "it names no fingerprint of a model"
    raise InputError(f"{path}: holds scores of another model ({why}); give another file, or leave resume out to start anew")


def _changed(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """The first option that differs, as it stands in the file; empty if none does."""
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            return f"{name}={there.get(name)}, not {here.get(name)}"
    return ""


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file for the results")
    if is_stream(path):
        return
    place = next(parent for parent in path.absolute().parents if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise OutputError(f"{path}: cannot be written ({place} is not a folder that may be written to); choose another place")
