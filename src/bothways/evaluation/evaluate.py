"""Run an encoder through tasks. The tasks know what to measure; this file only calls them and notes down what happened."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from bothways.errors import InputError
from bothways.evaluation.provenance import command_line, describe
from bothways.evaluation.registry import make_task
from bothways.evaluation.results import Record, Results
from bothways.evaluation.task import RunOptions, Task
from bothways.provenance import versions


def evaluate(
    encoder: Any,
    tasks: str | Task | Sequence[str | Task],
    *,
    batch_tokens: int | None = None,
    show_progress_bar: bool | None = None,
    seed: int = 0,
) -> Results:
    """Score an encoder on one or more tasks.

    Args:
        encoder: anything with `encode(list[str])` → (n, d): ours, a SentenceTransformer, your own. `encode_query` and
            `encode_document` are used for retrieval where it has them. For retrieval alone also a ranker such as `BM25()`.
        tasks: specifications (`"stdlib"`, `"sts:dev.jsonl"`, `"retrieval:FOLDER"`, `"geometry:dev.jsonl"`) or `Task` objects,
            which take options. All data is read before the first text is encoded.
        batch_tokens: tokens of one encoding pass, handed on to an encoder that takes it; changes speed, not scores.
        show_progress_bar: handed on to an encoder that takes it.
        seed: of the metrics that draw at random.

    Returns:
        Metrics by task name (the specification as given): correlations in [-1, 1], retrieval measures in [0, 1].

    Raises:
        InputError: no task, an unknown one, the same one twice, unreadable data, or an encoder that cannot do what a task asks.
    """
    chosen = [tasks] if isinstance(tasks, (str, Task)) else list(tasks)
    if not chosen:
        raise InputError("no task to evaluate; give at least one, e.g. 'stdlib'")
    ready = [make_task(task) if isinstance(task, str) else task for task in chosen]
    names = [task.name for task in ready]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"task {twice!r} is given twice; results go by name, so give the second another name= or drop it")

    options = RunOptions(batch_tokens=batch_tokens, show_progress_bar=show_progress_bar, seed=seed)
    records: dict[str, Record] = {}
    for task in ready:
        started = time.perf_counter()
        score = task.run(encoder, options)
        seconds = round(time.perf_counter() - started, 3)
        records[task.name] = Record(task.kind, task.main, score.metrics, score.details, task.fingerprint, seconds)
    provenance = {
        "model": describe(encoder),
        "seed": seed,
        "batch_tokens": batch_tokens,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(sum(record.seconds for record in records.values()), 3),
        "versions": versions(),
        "command": command_line(),
    }
    return Results(records, provenance)
