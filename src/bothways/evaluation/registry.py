"""From a specification such as `sts:dev.jsonl?aggregation=mean` to a task.

Each kind lives in its own file, imported when first asked for; `specification.py` says how a specification is written.
"""

from __future__ import annotations

import difflib
import importlib

from bothways.errors import InputError
from bothways.evaluation.specification import options_of, parse, read_options
from bothways.evaluation.task import Task

# kind → where its class is, and how a user writes it
_KINDS: dict[str, tuple[str, str, str]] = {
    "stdlib": ("bothways.evaluation.tasks.stdlib", "Stdlib", "stdlib"),
    "sts": ("bothways.evaluation.tasks.sts", "STS", "sts:PAIRS"),
    "retrieval": ("bothways.evaluation.tasks.retrieval", "Retrieval", "retrieval:FOLDER"),
    "classification": ("bothways.evaluation.tasks.classification", "Classification", "classification:FOLDER"),
    "clustering": ("bothways.evaluation.tasks.clustering", "Clustering", "clustering:PATH"),
    "reranking": ("bothways.evaluation.tasks.reranking", "Reranking", "reranking:PATH"),
    "pairs": ("bothways.evaluation.tasks.pairs", "PairClassification", "pairs:PATH"),
    "geometry": ("bothways.evaluation.tasks.geometry", "Geometry", "geometry:PAIRS"),
    "perplexity": ("bothways.evaluation.tasks.perplexity", "Perplexity", "perplexity:TEXT"),
    "passkey": ("bothways.evaluation.tasks.passkey", "Passkey", "passkey"),
    "topics": ("bothways.evaluation.tasks.topics", "Topics", "topics"),
    "layers": ("bothways.evaluation.tasks.layers", "Layers", "layers:TEXTFILE"),
    "prefix": ("bothways.evaluation.tasks.prefix", "Prefix", "prefix"),
    "words": ("bothways.evaluation.tasks.words", "Words", "words:FOLDER"),
    "mteb": ("bothways.evaluation.mteb.hub", "HubTask", "mteb:TASK|subset15"),
    "mteb-local": ("bothways.evaluation.mteb.local", "LocalTask", "mteb-local:KIND:PATH"),
}


def kinds() -> dict[str, str]:
    """Every kind of task with the form of its specification, for help texts."""
    return {kind: form for kind, (_, _, form) in _KINDS.items()}


def task_class(kind: str, spec: str | None = None) -> type[Task]:
    """The class behind a kind, imported now.

    Raises:
        InputError: the kind is unknown; `spec` is what the message quotes.
    """
    if kind not in _KINDS:
        near = difflib.get_close_matches(kind, _KINDS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"unknown task {spec or kind!r}; {hint}known: {', '.join(kinds().values())}")
    module, name, _ = _KINDS[kind]
    found: type[Task] = getattr(importlib.import_module(module), name)
    return found


def options(kind: str) -> dict[str, object]:
    """The options a specification of this kind may carry, each with the type of its value; `name` goes with every kind."""
    return {**options_of(task_class(kind).from_argument), "name": str}


def make_task(spec: str) -> Task:
    """The task that `spec` names: `KIND[:ARGUMENT][?option=value&option=value]`.

    Its name in results is `spec` as it stands, or what the option `name` says.

    Raises:
        InputError: the kind or an option is unknown, a value cannot be read, or the data cannot.
    """
    written = parse(spec)
    chosen = task_class(written.kind, spec)
    values = read_options(spec, written.options, options(written.kind)) if written.options else {}
    name = values.pop("name", spec)
    task = chosen.from_argument(written.argument, **values)
    if written.options:
        task.name = name
    if values and not task.settings:  # a kind that does not say which of its options count: all that were written do
        task.settings = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    return task


def require_argument(argument: str | None, kind: str) -> str:
    """The argument of a specification that must have one.

    Raises:
        InputError: there is none.
    """
    if not argument:
        raise InputError(f"task {kind!r} needs a path; write {_KINDS[kind][2]}")
    return argument
