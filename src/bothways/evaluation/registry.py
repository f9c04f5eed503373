"""The kinds of tasks, and tasks from specifications such as `sts:dev.jsonl?aggregation=mean`.

Each kind has its own file, which is imported on first use. `specification.py` describes the syntax.
"""

from __future__ import annotations

import importlib

from bothways.errors import InputError
from bothways.evaluation.specification import (
    arguments_of,
    options_of,
    parse_specification,
    read_options,
)
from bothways.evaluation.task import Task
from bothways.nearest import meant

# kind → module and name of its class, and the form of its specification
_KINDS: dict[str, tuple[str, str, str]] = {
    "stdlib": ("bothways.evaluation.tasks.stdlib", "Stdlib", "stdlib"),
    "sts": ("bothways.evaluation.tasks.sts", "STS", "sts:PAIRS"),
    "retrieval": ("bothways.evaluation.tasks.retrieval", "Retrieval", "retrieval:FOLDER"),
    "classification": (
        "bothways.evaluation.tasks.classification",
        "Classification",
        "classification:FOLDER",
    ),
    "clustering": ("bothways.evaluation.tasks.clustering", "Clustering", "clustering:PATH"),
    "reranking": ("bothways.evaluation.tasks.reranking", "Reranking", "reranking:PATH"),
    "pairs": ("bothways.evaluation.tasks.pairs", "PairClassification", "pairs:PATH"),
    "trained-pairs": (
        "bothways.evaluation.tasks.trained_pairs",
        "TrainedPairs",
        "trained-pairs:FOLDER",
    ),
    "geometry": ("bothways.evaluation.tasks.geometry", "Geometry", "geometry:PAIRS"),
    "perplexity": ("bothways.evaluation.tasks.perplexity", "Perplexity", "perplexity:TEXT"),
    "passkey": ("bothways.evaluation.tasks.passkey", "Passkey", "passkey"),
    "topics": ("bothways.evaluation.tasks.topics", "Topics", "topics"),
    "layers": ("bothways.evaluation.tasks.layers", "Layers", "layers:TEXTFILE"),
    "prefix": ("bothways.evaluation.tasks.prefix", "Prefix", "prefix"),
    "words": ("bothways.evaluation.tasks.words", "Words", "words:FOLDER"),
    "suite": ("bothways.evaluation.tasks.suite", "NamedSuite", "suite:NAME"),
    "mteb": ("bothways.evaluation.mteb.hub_tasks", "HubTask", "mteb:TASK|subset15"),
    "mteb-local": ("bothways.evaluation.mteb.local", "LocalTask", "mteb-local:KIND:PATH"),
}


def kinds() -> dict[str, str]:
    """Return every kind of task with the form of its specification, for help texts."""
    return {kind: form for kind, (_, _, form) in _KINDS.items()}


def task_class(kind: str, spec: str | None = None) -> type[Task]:
    """Import and return the class of a kind.

    Args:
        kind: the kind, for example "sts".
        spec: the whole specification, for the error message. If None, quote the kind.

    Raises:
        InputError: if the kind is unknown.
    """
    if kind not in _KINDS:
        raise InputError(
            f"unknown task {spec or kind!r}; {meant(kind, _KINDS)}known: {', '.join(kinds().values())}"
        )
    module, name, _ = _KINDS[kind]
    found: type[Task] = getattr(importlib.import_module(module), name)
    return found


def options(kind: str) -> dict[str, object]:
    """Return the options of a kind, each with the type of its value.

    `name` is an option of every kind.
    """
    return {**options_of(task_class(kind).from_argument), "name": str}


def make_task(spec: str) -> Task:
    """Make the task of a specification `KIND[:ARGUMENT][?option=value&option=value]`.

    For example, `sts:dev.jsonl?aggregation=mean&name=dev`. The name of the task in results is the
    option `name`, or else `spec` as written.

    Raises:
        InputError: if the kind or an option is unknown, or if a value or the data cannot be read.
    """
    written = parse_specification(spec)
    chosen = task_class(written.kind, spec)
    values = read_options(spec, written.options, options(written.kind)) if written.options else {}
    name = values.pop("name", spec)
    task = chosen.from_argument(written.argument, **arguments_of(chosen.from_argument, values))
    if written.options:
        task.name = name
    if values and not task.settings:  # the kind does not say which of its options count, so all do
        task.settings = {
            key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
        }
    return task


def require_argument(argument: str | None, kind: str) -> str:
    """Return the argument of a specification that must have one.

    Raises:
        InputError: if there is none.
    """
    if not argument:
        raise InputError(f"task {kind!r} needs a path; write {_KINDS[kind][2]}")
    return argument
