"""Reads the scores of a card from results files, as huggingface_hub's EvalResult.

Only scores of the very same model are used.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bothways.encoder.folder.card_training import last_name
from bothways.errors import InputError
from bothways.evaluation.model_identity import model_fingerprint
from bothways.evaluation.results import Record, Results

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from bothways.encoder.encoder import Encoder

TASKS = {
    "sts": "semantic-similarity",
    "retrieval": "information-retrieval",
    "stdlib": "information-retrieval",
    "pairs": "binary-classification",
    "trained-pairs": "binary-classification",
    "classification": "text-classification",
    "clustering": "clustering",
    "reranking": "reranking",
}
"""The name of each kind of task on the cards of sentence-transformers."""

log = logging.getLogger("bothways")


def read_figures(
    encoder: Encoder, folder: Path, given: Iterable[str | os.PathLike[str]]
) -> tuple[EvalResult, ...]:
    """Read all metrics of results files that are given or lie in the encoder's folder.

    The main metric of each task comes first.

    Args:
        encoder: the model that they must be about, in any precision.
        folder: folder in which to look for results*.json and results/*.json. Files of other tools
            and other models are skipped with a warning.
        given: results files.

    Raises:
        InputError: if a given file is not a results file or is about another model, or if a task
            occurs twice with different data or scores.
    """
    named = [Path(file) for file in given]
    nearby = [
        file
        for pattern in ("results*.json", "results/*.json")
        for file in sorted(folder.glob(pattern))
    ]
    prints: dict[str | None, str] = {}
    records: dict[str, Record] = {}
    for file in [
        *named,
        *(each for each in nearby if each.resolve() not in {one.resolve() for one in named}),
    ]:
        try:
            results = Results.load(file)
        except InputError as error:
            if file in named:
                raise
            log.warning("%s; it is not on the card", error)
            continue
        if not _is_about(results, encoder, prints):
            reason = "is about another model, or about this one with other options (such as --max-length); evaluate this model again"
            if file in named:
                raise InputError(f"{file}: {reason}")
            log.warning("%s: %s; it is not on the card", file, reason)
            continue
        for name, record in results.records.items():
            if name in records and (records[name].data, records[name].metrics) != (
                record.data,
                record.metrics,
            ):
                raise InputError(
                    f"{file}: the task {name!r} has other scores in another results file; give only one of them"
                )
            records[name] = record
    names = {name: _shown(name) for name in records}
    several = {shown for shown in names.values() if list(names.values()).count(shown) > 1}
    found: list[EvalResult] = []
    for name, record in records.items():
        shown = names[name]
        found += _figures(f"{shown} ({record.data[:8]})" if shown in several else shown, record)
    return tuple(found)


def _is_about(results: Results, encoder: Encoder, prints: dict[str | None, str]) -> bool:
    """Return whether the results have the fingerprint of the encoder in their precision."""
    model = results.provenance.get("model")
    if not isinstance(model, Mapping) or not isinstance(model.get("fingerprint"), str):
        return False
    kind = model.get("dtype") if isinstance(model.get("dtype"), str) else None
    if kind not in prints:
        prints[kind] = _fingerprint(encoder, kind)
    return bool(prints[kind] == model["fingerprint"])


def _fingerprint(encoder: Encoder, kind: str | None) -> str:
    """Return the fingerprint of the encoder in a precision.

    The encoder is loaded again in it, which takes a second and is exact.
    """
    import torch

    from bothways.encoder.load import load

    if kind is None or encoder.folder is None or getattr(torch, kind, None) == encoder.dtype:
        return model_fingerprint(encoder)
    if not isinstance(getattr(torch, kind, None), torch.dtype):
        return ""
    return model_fingerprint(load(encoder.folder, device="cpu", dtype=kind))


def _figures(name: str, record: Record) -> list[EvalResult]:
    """Return the metrics of one task, the main one first, under the name that readers see."""
    from huggingface_hub import EvalResult

    metrics = [record.main, *(metric for metric in record.metrics if metric != record.main)]
    arguments: dict[str, Any] = {"sha256": record.data} if record.data else {}
    return [
        EvalResult(
            task_type=TASKS.get(record.kind, record.kind),
            task_name=record.kind,
            dataset_type=re.sub(r"[^\w.-]+", "-", name).strip("-").lower() or record.kind,
            dataset_name=name,
            dataset_args=arguments or None,
            metric_type=metric,
            metric_name=metric.replace("_", " "),
            metric_value=record.metrics[metric],
        )
        for metric in metrics
    ]


def _shown(name: str) -> str:
    """Return a task's name without folders.

    For example, sts:data/stsb/dev.jsonl?split=dev becomes sts:dev.jsonl?split=dev.
    """
    written, question, options = name.partition("?")
    kind, colon, argument = written.partition(":")
    if not colon or kind == "mteb":
        return name
    return f"{kind}:{last_name(argument)}{question}{options}"
