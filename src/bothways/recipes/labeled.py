"""Labeled data for recipes: known tasks get their instruction, other sources are read unchanged.

Every supervised recipe uses this module. A model that was trained with an instruction must be used
with the same one. So the prompts that rows get here are also stored with the encoder
(`stored_prompts`).
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bothways.data.batches import Batching
from bothways.data.labeled.beir import is_beir
from bothways.data.labeled.templates import HALVES, INSTRUCTIONS, task_prompts
from bothways.errors import InputError
from bothways.recipes.recipe_parts import EMBEDDED_TEXTS

log = logging.getLogger("bothways")

#: One source, several, a whole `data` mapping, or one of these by stage name.
LabeledSources = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Mapping[str, Any]

#: The pairs of the embedded text consist of a description and the function that it describes.
EMBEDDED_INSTRUCTION = "Given a description, retrieve the Python function that it describes"
#: Keys of a task that a recipe turns into prompts. The other keys are those of
#: `training.recipe.data_config.TaskConfig`.
INSTRUCTION_KEYS = ("instruction", "symmetric")


def labeled_rows(
    given: LabeledSources,
    stage: str,
    *,
    template: str | None,
    batches: Batching,
    mine: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build the `data` of a supervised stage.

    A source is a task, named after its file or folder. If the name is in `INSTRUCTIONS` of
    `bothways.data.labeled.templates`, its rows get the instruction before queries and, if the task
    is symmetric, before documents too. Prompts in the rows are then replaced, with a warning when
    they are read. If a folder holds files of known tasks, as E5's training data does, each file is
    a task, and two of those files are two tasks each (`HALVES`).

    A mapping states everything itself, for example {"tasks": [{"name": "fiqa", "source":
    "fiqa.jsonl", "instruction": "Given a financial question, …", "symmetric": False, "weight":
    0.5}]}, or {"source": "fiqa.jsonl"} with the same keys.

    Args:
        given: the data to learn from.
        stage: the stage's name, for the case that `given` has data by stage.
        template: the form of instructions, a name in `TEMPLATES` of
            `bothways.data.labeled.templates`. If None, rows get only the instructions that they
            contain.
        batches: "blended" or "homogeneous", unless a mapping sets it.
        mine: the source of negatives for rows without any, unless a mapping sets it.

    Raises:
        InputError: if there is no data for this stage, if an instruction and prompts are both
            given, or if `symmetric` is given without an instruction.
    """
    given = _of_stage(given, stage)
    data = (
        _said(given, template) if isinstance(given, Mapping) else _found(_listed(given), template)
    )
    data.setdefault("batches", batches)
    if mine is not None:
        data.setdefault("mine", dict(mine))
    return data


def stored_prompts(parts: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Collect the prompts to store with an encoder that was trained on these `data`.

    They are stored by name of the task. If all retrieval tasks have one instruction, it is also the
    prompt of `encode_query` ("query"). If all tasks are one symmetric task, its prompt serves both
    sides. If any task has no instruction, `encode_query` does not get one. Rows without a prompt
    take the encoder's, in training as in use, and must not get another task's.
    """
    found: dict[str, tuple[str, str]] = {}
    bare = False
    for data in parts:
        for task in data.get("tasks") or (data,):
            if task.get("query_prompt"):
                found[str(task.get("name") or "query")] = (
                    task["query_prompt"],
                    task.get("document_prompt") or "",
                )
            else:
                bare = True
    prompts = {name: query for name, (query, _) in found.items()}
    if bare:
        return prompts
    retrieval = {query for query, document in found.values() if not document}
    if len(retrieval) == 1:
        prompts["query"] = retrieval.pop()
    elif len(set(found.values())) == 1:
        prompts["query"], prompts["document"] = next(iter(found.values()))
    return prompts


def _of_stage(given: LabeledSources, stage: str) -> LabeledSources:
    if not isinstance(given, Mapping) or given.keys() & {"source", "tasks"}:
        return given
    if stage not in given:
        there = ", ".join(map(repr, given)) or "none"
        raise InputError(
            f"texts: none for stage {stage!r} (there are {there}); a mapping has data by stage, or source or tasks"
        )
    found: LabeledSources = given[stage]
    return found


def _listed(given: object) -> list[str]:
    sources = [given] if isinstance(given, (str, os.PathLike)) else given
    if not isinstance(sources, (list, tuple)) or not all(
        isinstance(source, (str, os.PathLike)) for source in sources
    ):
        raise InputError(
            f"labeled rows: expected a file or folder, a list of them, or a mapping with source or tasks (got {given!r})"
        )
    return [os.fspath(source) for source in sources]


def _said(given: Mapping[str, Any], template: str | None) -> dict[str, Any]:
    """Turn the instructions of a mapping into prompts."""
    data = dict(given)
    if "tasks" in data:
        data["tasks"] = [
            _task(task, template) if isinstance(task, Mapping) else task for task in data["tasks"]
        ]
        return data
    data["source"] = _listed(data["source"])
    return _task(data, template)


def _task(given: Mapping[str, Any], template: str | None) -> dict[str, Any]:
    task = {key: value for key, value in given.items() if key not in INSTRUCTION_KEYS}
    name, instruction, symmetric = (
        str(task.get("name", "")),
        given.get("instruction"),
        given.get("symmetric"),
    )
    own = next(
        (key for key in ("query_prompt", "document_prompt") if task.get(key) is not None), None
    )
    if template is None and instruction is not None:
        raise InputError(
            f"task {name!r}: this recipe puts no instructions before texts; leave instruction out, or give query_prompt"
        )
    if own is not None and (instruction is not None or symmetric is not None):
        raise InputError(f"task {name!r}: has {own} and an instruction; give one of the two")
    if template is None:
        return task
    task.setdefault("template", template)
    if instruction is None and name not in INSTRUCTIONS:
        if symmetric is not None:
            raise InputError(
                f"task {name!r}: symmetric needs an instruction to place; give instruction, or leave symmetric out"
            )
        return task
    return task if own is not None else {**task, **_prompts(template, name, instruction, symmetric)}


def _found(sources: list[str], template: str | None) -> dict[str, Any]:
    """Read sources as tasks if at least one of them is known, else all of them unchanged."""
    if template is None:
        return {"source": sources}
    parts = [part for source in sources for part in _parts(source)]
    if not any(_known(name) for name, _ in parts):
        return {"source": sources, "template": template}
    strangers = [source for name, source in parts if not _known(name)]
    if strangers:
        log.warning(
            "%s: no instruction is known for a task of this name, so its rows keep their own, if any; give it one as "
            '{"name": …, "source": …, "instruction": …}',
            ", ".join(strangers),
        )
    counts = Counter(name for name, _ in parts)
    tasks: list[dict[str, Any]] = []
    for name, source in parts:
        instruction = EMBEDDED_INSTRUCTION if name == EMBEDDED_TEXTS else None
        halves = HALVES.get(name, ())
        for number, each in enumerate(halves or (name,), start=1):
            prompts = (
                _prompts(template, each, instruction, None)
                if instruction or each in INSTRUCTIONS
                else {}
            )
            # Files of one name in several folders are several tasks.
            unique = each if counts[name] == 1 else f"{Path(source).parent.name}-{each}"
            part = {"part": [number, len(halves)]} if halves else {}
            tasks.append(
                {"name": unique, "source": [source], **part, "template": template, **prompts}
            )
    return {"tasks": tasks}


def _known(name: str) -> bool:
    """Tell if a source of this name has an instruction, or two."""
    return name in INSTRUCTIONS or name in HALVES or name == EMBEDDED_TEXTS


def _parts(source: str) -> list[tuple[str, str]]:
    """List (name, source) for a source, or for each file of a folder of known tasks."""
    path = Path(source).expanduser()
    if path.is_dir() and not is_beir(path):
        files = [
            (_name(file), str(file))
            for file in sorted(path.iterdir())
            if file.is_file() and ".json" in file.name
        ]
        if any(_known(name) for name, _ in files):
            return files
    return [(source if source == EMBEDDED_TEXTS else _name(path), source)]


def _name(path: Path) -> str:
    return path.name if path.is_dir() else Path(path.name.removesuffix(".gz")).stem


def _prompts(
    template: str, name: str, instruction: str | None, symmetric: bool | None
) -> dict[str, str]:
    query, document = task_prompts(template, name, instruction=instruction, symmetric=symmetric)
    prompts = {"query_prompt": query, "document_prompt": document}
    known = INSTRUCTIONS.get(name)
    # A class's text is not a query and gets no prompt (NV-Embed). Another text of the class is a
    # query, which the reader recognizes from the rows.
    return (
        {**prompts, "example_prompt": query}
        if known is not None and known.classes and symmetric is None
        else prompts
    )
