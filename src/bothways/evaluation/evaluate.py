"""Run an encoder through tasks. The tasks know what to measure; this file only calls them and notes down what happened.

With a file to write to, what is finished is on the disk: the file is replaced as a whole after each task.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bothways.errors import InputError
from bothways.evaluation.provenance import describe
from bothways.evaluation.registry import make_task
from bothways.evaluation.results import Record, Results
from bothways.evaluation.resume import Ledger, finished
from bothways.evaluation.task import RunOptions, Task
from bothways.locks import held

_FINISHED = "finished"  # in OUT.work


def evaluate(
    encoder: Any,
    tasks: str | Task | Sequence[str | Task],
    *,
    batch_tokens: int | None = None,
    show_progress_bar: bool | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> Results:
    """Score an encoder on one or more tasks.

    Args:
        encoder: anything with `encode(list[str])` → (n, d): ours, a SentenceTransformer, your own. `encode_query` and
            `encode_document` are used for retrieval where it has them. For retrieval alone also a ranker such as `BM25()`.
        tasks: specifications `KIND[:ARGUMENT][?option=value&option=value]` (`"stdlib"`, `"sts:dev.jsonl?aggregation=mean"`,
            `"retrieval:FOLDER"`; `registry.kinds()` names all kinds, `registry.options(kind)` their options) or `Task` objects.
            All data is read before the first text is encoded.
        batch_tokens: tokens of one encoding pass, handed on to an encoder that takes it; changes speed, not scores.
        show_progress_bar: handed on to an encoder that takes it.
        seed: of the metrics that draw at random.
        out: a results file, written anew after each task. Beside it `OUT.work` holds what a suite of MTEB tasks has finished, until
            the suite is done.
        resume: take the tasks that `out` holds already from there, and keep those it holds beyond the ones asked for. It must be
            about the same model and seed, and the same data and options of each task.

    Returns:
        Metrics by task name (the specification as given): correlations in [-1, 1], retrieval measures in [0, 1]. With `resume`,
        what `out` holds in the end.

    Raises:
        InputError: no task, an unknown one, the same one twice, unreadable data, an encoder that cannot do what a task asks, or
            `resume` without a file or with one about something else; or another process that writes `out`.
        OutputError: `out` cannot be written.
    """
    ready = _ready(tasks)
    for task in ready:
        task.check(encoder)
    if resume and out is None:
        raise InputError("resume: there is no results file to continue; name it with out")
    with nullcontext() if out is None else held(out):
        model = describe(encoder)
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        known, earlier = finished(out, ready, model=model, seed=seed) if resume and out is not None else ({}, [])
        told = {"model": model, "seed": seed, "batch_tokens": batch_tokens, "date": date}
        ledger = Ledger([task.name for task in ready], told, out=out, known=known, earlier=earlier)
        work = None if out is None else Path(f"{os.fspath(out)}.work") / _FINISHED
        if work is not None and not resume:
            _remove(work)  # of a run that was stopped and is not wanted any more
        options = RunOptions(batch_tokens=batch_tokens, show_progress_bar=show_progress_bar, seed=seed, work=work)
        for task in ready:
            if task.name not in ledger.done:
                ledger.add(task.name, _measure(task, encoder, options))
                if work is not None:
                    _remove(work)
        return ledger.results()


def _remove(work: Path) -> None:
    """Remove what finished tasks have left; files of somebody else beside it stay."""
    shutil.rmtree(work, ignore_errors=True)
    with suppress(OSError):
        work.parent.rmdir()


def _ready(tasks: str | Task | Sequence[str | Task]) -> list[Task]:
    chosen = [tasks] if isinstance(tasks, (str, Task)) else list(tasks)
    if not chosen:
        raise InputError("no task to evaluate; give at least one, e.g. 'stdlib'")
    ready = [make_task(task) if isinstance(task, str) else task for task in chosen]
    names = [task.name for task in ready]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"task {twice!r} is given twice; results go by name, so give the second another name= or drop it")
    return ready


def _measure(task: Task, encoder: Any, options: RunOptions) -> Record:
    started = time.perf_counter()
    score = task.run(encoder, options)
    seconds = round(time.perf_counter() - started, 3)
    return Record(task.kind, task.main, score.metrics, score.details, task.fingerprint, seconds, dict(task.settings))
