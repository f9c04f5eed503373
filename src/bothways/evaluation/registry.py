"""From a specification such as `sts:dev.jsonl` to a task. Each kind lives in its own file, imported when first asked for."""

from __future__ import annotations

import difflib
import importlib

from bothways.errors import InputError
from bothways.evaluation.task import Task

# kind → where its class is, and how a user writes it
_KINDS: dict[str, tuple[str, str, str]] = {
    "stdlib": ("bothways.evaluation.stdlib", "Stdlib", "stdlib"),
    "sts": ("bothways.evaluation.sts", "STS", "sts:PAIRS"),
    "retrieval": ("bothways.evaluation.retrieval", "Retrieval", "retrieval:FOLDER"),
    "geometry": ("bothways.evaluation.geometry_task", "Geometry", "geometry:PAIRS"),
}


def kinds() -> dict[str, str]:
    """Every kind of task with the form of its specification, for help texts."""
    return {kind: form for kind, (_, _, form) in _KINDS.items()}


def make_task(spec: str) -> Task:
    """The task that `spec` names: `KIND` or `KIND:ARGUMENT`, split at the first colon.

    Raises:
        InputError: the kind is unknown, or its data cannot be read.
    """
    kind, colon, argument = spec.partition(":")
    if kind not in _KINDS:
        near = difflib.get_close_matches(kind, _KINDS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"unknown task {spec!r}; {hint}known: {', '.join(kinds().values())}")
    module, name, _ = _KINDS[kind]
    task: Task = getattr(importlib.import_module(module), name).from_argument(argument if colon else None)
    return task


def require_argument(argument: str | None, kind: str) -> str:
    """The argument of a specification that must have one.

    Raises:
        InputError: there is none.
    """
    if not argument:
        raise InputError(f"task {kind!r} needs a path; write {_KINDS[kind][2]}")
    return argument
