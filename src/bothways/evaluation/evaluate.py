"""Run an encoder through tasks.

This file calls the tasks and records their results. With an output file, every finished task is on
disk: after each task the file is replaced as a whole.
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
from bothways.evaluation.provenance import describe_encoder
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

    For example, `evaluate(encoder, ["stdlib", "sts:dev.jsonl?aggregation=mean"],
    out="results.json")`.

    Args:
        encoder: any object with `encode(list[str])` → (n, d): ours, a SentenceTransformer, your
            own. If it has `encode_query` and `encode_document`, retrieval uses them. Retrieval
            alone also takes a ranker such as `BM25()`.
        tasks: `Task` objects, or specifications `KIND[:ARGUMENT][?option=value&option=value]`.
            `registry.kinds()` lists all kinds, `registry.options(kind)` their options. All data is
            read before the first text is encoded.
        batch_tokens: tokens of one encoding pass, passed on to an encoder that accepts it. It
            changes speed, not scores. If None, the encoder decides.
        show_progress_bar: whether to show progress, passed on to an encoder that accepts it. If
            None, the encoder decides.
        seed: seed of metrics that draw at random.
        out: a results file, rewritten after each task. Next to it `OUT.work` holds finished tasks
            of a suite of MTEB tasks, until the suite is done. If None, nothing is written.
        resume: if True, take tasks from `out` that are finished there, and keep all other results
            that it holds. The model and the seed must be the same, and so must the data and options
            of each task.

    Returns:
        Metrics by task name (the specification as given). Correlations are in [-1, 1], retrieval
        measures in [0, 1]. With `resume`, everything that `out` holds in the end.

    Raises:
        InputError: if there are no tasks, if a task is unknown or given twice, if data cannot be
            read, if the encoder cannot do a task, if `resume` is given without a file or with one
            of another model, or if another process writes `out`.
        OutputError: if `out` cannot be written.
    """
    ready = _ready(tasks)
    for task in ready:
        task.check(encoder)
    if resume and out is None:
        raise InputError("resume: needs a results file to continue; pass it as out")
    with nullcontext() if out is None else held(out):
        model = describe_encoder(encoder)
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        known, earlier = (
            finished(out, ready, model=model, seed=seed) if resume and out is not None else ({}, [])
        )
        told = {"model": model, "seed": seed, "batch_tokens": batch_tokens, "date": date}
        ledger = Ledger([task.name for task in ready], told, out=out, known=known, earlier=earlier)
        work = None if out is None else Path(f"{os.fspath(out)}.work") / _FINISHED
        if work is not None and not resume:
            _remove(work)  # left by a run that was stopped and is not resumed
        options = RunOptions(
            batch_tokens=batch_tokens, show_progress_bar=show_progress_bar, seed=seed, work=work
        )
        for task in ready:
            if task.name not in ledger.done:
                ledger.add(task.name, _measure(task, encoder, options))
                if work is not None:
                    _remove(work)
        return ledger.results()


def _remove(work: Path) -> None:
    """Remove the files of finished tasks. Other files in the parent folder stay."""
    shutil.rmtree(work, ignore_errors=True)
    with suppress(OSError):
        work.parent.rmdir()


def _ready(tasks: str | Task | Sequence[str | Task]) -> list[Task]:
    chosen = [tasks] if isinstance(tasks, (str, Task)) else list(tasks)
    if not chosen:
        raise InputError("no task to evaluate; give at least one, for example 'stdlib'")
    ready = [make_task(task) if isinstance(task, str) else task for task in chosen]
    names = [task.name for task in ready]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"task {twice!r} is given twice, and results are stored by name; add ?name=ANOTHER to one of them or leave it out"
        )
    return ready


def _measure(task: Task, encoder: Any, options: RunOptions) -> Record:
    started = time.perf_counter()
    score = task.run(encoder, options)
    seconds = round(time.perf_counter() - started, 3)
    return Record(
        task.kind,
        task.main,
        score.metrics,
        score.details,
        task.fingerprint,
        seconds,
        dict(task.settings),
    )
