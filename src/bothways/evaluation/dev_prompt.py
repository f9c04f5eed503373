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
from bothways.evaluation.specification import parse

log = logging.getLogger("bothways")


def _symmetric(row: Example) -> bool:
    return row.query_prompt == row.document_prompt


def _classes(row: Example) -> bool:
    return row.label is not None


#: Tests for rows of the same kind as a metric, by kind. The first test that any row passes counts.
_ALIKE: dict[str, tuple[Callable[[Example], bool], ...]] = {
    "sts": (lambda row: _symmetric(row) and row.task.startswith("sts"), lambda row: _symmetric(row) and not _classes(row)),
    "pairs": (lambda row: _symmetric(row) and not _classes(row),),
    "clustering": (_classes, _symmetric),
    "classification": (_classes, _symmetric),
}


def instructed(metric: str, rows: Sequence[Any]) -> str:
    """Add the instruction of the rows that are like the metric's, as `?prompt=`.

    Rows of a task named in the metric's path come first. For example,
    `classification:data/banking77` gets the instruction of the rows of the task "banking77". If
    such rows have several instructions, a warning asks for `prompt=`.

    Args:
        metric: a specification, see `evaluation.specification`.
        rows: training rows of the stage. Only labeled rows have prompts.

    Returns:
        The metric. It is unchanged if it has a prompt, if it is of another kind, or if the rows do
        not have an instruction.
    """
    asked = parse(metric)
    examples = [row for row in rows if isinstance(row, Example)]
    if asked.kind not in _ALIKE or "prompt" in asked.options:
        return metric
    path = Path(asked.argument or "")
    names = {*path.parts, path.name.split(".")[0]}
    own = [row for row in examples if row.task and row.task in names]
    tests = (lambda row: row.query_prompt != "",) if own else _ALIKE[asked.kind]
    alike = next((found for test in tests if (found := [row for row in own or examples if test(row)])), [])
    prompts = sorted({row.query_prompt for row in alike})
    if prompts in ([], [""]):
        return metric
    if len(prompts) > 1:
        log.warning(
            "dev metric %s: is measured without an instruction, because the rows have %d of them, the first are %r and %r; "
            "name the right one as ?prompt=… (?prompt= for none)",
            *(metric, len(prompts), prompts[0], prompts[1]),
        )
        return metric
    log.info("dev metric %s: is measured with the instruction of the rows, %r", metric, prompts[0])
    return f"{metric}{'&' if '?' in metric else '?'}prompt={quote(prompts[0], safe='')}"
