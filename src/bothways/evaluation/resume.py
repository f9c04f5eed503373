"""Long evaluations that continue after a stop: finished tasks are taken from the results file.

A results file is about one model under one seed. A task is finished if it was measured on the same
data with the same options. Anything else is refused, because a reader of a file with mixed results
could not notice it.
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
    """The results of a run in progress, and the file that records them."""

    def __init__(
        self,
        names: Sequence[str],
        told: Mapping[str, Any],
        *,
        out: str | os.PathLike[str] | None = None,
        known: Mapping[str, Record] | None = None,
        earlier: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Start with the results of earlier runs.

        Args:
            names: tasks to measure, in order.
            told: provenance that holds for the whole run.
            out: the results file. If None, nothing is written.
            known: records of an earlier run, from `finished`.
            earlier: entries about earlier runs, from `finished`.

        Raises:
            InputError: if `out` is a folder.
            OutputError: if `out` cannot be written. This is checked now, and not after hours of
                work.
        """
        self.names, self.told, self.out, self.earlier = list(names), dict(told), out, list(earlier)
        self.known = dict(known or {})
        self.done = {name: self.known[name] for name in self.names if name in self.known}
        for name in self.done:
            log.info("%s: finished earlier, taken from %s", name, out)
        if out is not None:
            _check_place(Path(out))

    def add(self, name: str, record: Record) -> None:
        """Record a finished task, and write the file."""
        self.done[name] = record
        if self.out is not None:
            self.results().save(self.out)

    def results(self) -> Results:
        """Return the finished tasks of this run in order, then the other tasks of the file."""
        order = [name for name in self.names if name in self.done]
        records = {name: self.done[name] for name in order} | {
            n: r for n, r in self.known.items() if n not in self.names
        }
        pending = [name for name in self.names if name not in self.done]
        seconds = round(sum(record.seconds for record in records.values()), 3)
        run = {
            "seconds": seconds,
            "versions": versions(),
            "command": command_line(),
            "pending": pending,
        }
        return Results(
            records, {**self.told, **run, **({"earlier": self.earlier} if self.earlier else {})}
        )


def finished(
    path: str | os.PathLike[str], tasks: Sequence[Task], *, model: Mapping[str, Any], seed: int
) -> tuple[dict[str, Record], list[dict[str, Any]]]:
    """Read the results that an earlier run left in a file.

    Args:
        path: the file. If it does not exist yet, the result is empty.
        tasks: tasks to measure now.
        model: description of the encoder from `provenance.describe_encoder`.
        seed: seed of the run.

    Returns:
        The file's records by task name, of which those of `tasks` are checked. And one entry for
        each earlier run with its date, command and versions.

    Raises:
        InputError: if it is not a results file, or if it is about another model, another seed, or
            (for one of `tasks`) other data or options.
    """
    if not Path(path).exists():
        return {}, []
    results = Results.load(path)
    told = results.provenance
    _refuse_other_model(path, told.get("model", {}), model)
    if told.get("seed") != seed:
        raise InputError(
            f"{path}: was measured with seed {told.get('seed')}, not {seed}; use the same seed, or another file"
        )
    for task in tasks:
        record = results.records.get(task.name)
        if record is None:
            continue
        if record.kind != task.kind or record.data != task.fingerprint:
            raise InputError(
                f"{path}: {task.name!r} was measured on other data there; use another file, or give the task another name="
            )
        changed = _changed(record.options, task.settings)
        if changed:
            raise InputError(
                f"{path}: {task.name!r} was measured there with {changed}; use another file, or give the task another name="
            )
    if told.get("versions") != versions():
        log.warning(
            "%s: finished tasks were measured with other library versions; they are kept", path
        )
    run = {key: told[key] for key in ("date", "command", "versions") if key in told}
    return results.records, [*told.get("earlier", []), {**run, "tasks": list(results.records)}]


def _refuse_other_model(
    path: str | os.PathLike[str], there: object, here: Mapping[str, Any]
) -> None:
    there = there if isinstance(there, Mapping) else {}
    if there.get("fingerprint") == here["fingerprint"]:
        return
    facts = ("class", "name", "direction", "dtype", "stages")
    differ = [
        f"{fact} {there.get(fact)} there, {here.get(fact)} here"
        for fact in facts
        if there.get(fact) != here.get(fact)
    ]
    why = (
        "; ".join(differ) or "other weights or settings"
        if "fingerprint" in there
        else "it does not have a model fingerprint"
    )
    raise InputError(
        f"{path}: holds scores of another model ({why}); use another file, or leave out resume to start again"
    )


def _changed(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Return the first option that differs, as it is in the file, or "" if none differs."""
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            return f"{name}={there.get(name)}, not {here.get(name)}"
    return ""


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file for the results")
    if is_stream(path):
        return
    place = next(parent for parent in path.absolute().parents if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise OutputError(
            f"{path}: cannot be written, because {place} is not a folder that you may write to; choose another path"
        )
