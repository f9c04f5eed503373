"""Adds the instruction of a stage's rows to its development metric.

A model must be asked as it was trained. The recipe states the instructions of known tasks, but rows
may have prompts of their own (`query_prompt` in a file), which only the reader of the data sees. A
metric with a prompt of its own keeps it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bothways.data.labeled.example import Example
from bothways.evaluation.specification import parse_specification

log = logging.getLogger("bothways")


def _symmetric(row: Example) -> bool:
    return row.query_prompt == row.document_prompt


def _classes(row: Example) -> bool:
    return row.label is not None


#: Tests for rows of the same kind as a metric, by kind. The first test that any row passes counts.
_ALIKE: dict[str, tuple[Callable[[Example], bool], ...]] = {
    "sts": (
        lambda row: _symmetric(row) and row.task.startswith("sts"),
        lambda row: _symmetric(row) and not _classes(row),
    ),
    "pairs": (lambda row: _symmetric(row) and not _classes(row),),
    "trained-pairs": (lambda row: _symmetric(row) and not _classes(row),),
    "clustering": (_classes, _symmetric),
    "classification": (_classes, _symmetric),
}


#: Kinds of metrics that have one instruction for queries and one for documents.
_BY_SIDE = ("retrieval", "reranking")


def instructed(metric: str, rows: Sequence[Any]) -> str:
    """Add the instruction of the rows that are like the metric's, as `?prompt=`.

    Rows of a task named in the metric's path come first. For example,
    `classification:data/banking77` gets the instruction of the rows of the task "banking77". If
    such rows have several instructions, a warning asks for `prompt=`. Retrieval and reranking get
    `query_prompt=` and `document_prompt=`.

    Args:
        metric: a specification, see `evaluation.specification`.
        rows: training rows of the stage. Only labeled rows have prompts.

    Returns:
        The metric. It is unchanged if it has a prompt, if it is of another kind, or if the rows do
        not have an instruction.
    """
    asked = parse_specification(metric)
    examples = [row for row in rows if isinstance(row, Example)]
    names = ("query_prompt", "document_prompt") if asked.kind in _BY_SIDE else ("prompt",)
    if asked.kind not in (*_ALIKE, *_BY_SIDE) or not asked.options.keys().isdisjoint(names):
        return metric
    alike = _alike(asked.kind, Path(asked.argument or ""), examples)
    prompts = sorted({(row.query_prompt, row.document_prompt)[: len(names)] for row in alike})
    if not any(any(each) for each in prompts):
        return metric
    options = "&".join(f"{name}=…" for name in names)
    if len(prompts) > 1:
        log.warning(
            "dev metric %s: is measured without an instruction, because the rows have %d of them, the first are %r and %r; "
            "name the right one as ?%s (%s for none)",
            *(
                metric,
                len(prompts),
                _shown(prompts[0]),
                _shown(prompts[1]),
                options,
                f"?{options.replace('…', '')}",
            ),
        )
        return metric
    log.info(
        "dev metric %s: is measured with the instruction of the rows, %r",
        metric,
        _shown(prompts[0]),
    )
    added = "&".join(f"{name}={quote(prompt, safe='')}" for name, prompt in zip(names, prompts[0]))
    return f"{metric}{'&' if '?' in metric else '?'}{added}"


def _alike(kind: str, path: Path, examples: Sequence[Example]) -> Sequence[Example]:
    """Select the rows of the metric's task, or else of its kind."""
    names = {*path.parts, path.name.split(".")[0]}
    own = [row for row in examples if row.task and row.task in names]
    if kind in _BY_SIDE:
        return own or [
            row
            for row in examples
            if not _classes(row) and not (_symmetric(row) and row.query_prompt)
        ]
    tests = (lambda row: row.query_prompt != "",) if own else _ALIKE[kind]
    return next(
        (found for test in tests if (found := [row for row in own or examples if test(row)])), []
    )


def _shown(prompts: Sequence[str]) -> str | tuple[str, ...]:
    """Return the one prompt that counts for messages: that of queries if documents have none."""
    return prompts[0] if len(prompts) == 1 or not prompts[1] else tuple(prompts)
