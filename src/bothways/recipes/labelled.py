"""Labelled data as recipes take it: sources whose task is known by name get its instruction, all others are read as they are.

It stands apart because every supervised recipe needs it and none of them owns it. A model that was trained with an instruction must be
asked with the same one, so the prompts that rows are given here are also stored with the encoder (`stored_prompts`).
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bothways.data.beir import is_beir
from bothways.data.sampling import Batching
from bothways.data.templates import HALVES, INSTRUCTIONS, task_prompts
from bothways.errors import InputError
from bothways.recipes.base import EMBEDDED_TEXTS

log = logging.getLogger("bothways")

#: One source, several, a whole `data` mapping, or one of these by stage name.
Labelled = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Mapping[str, Any]

#: What the pairs of the embedded text are: a description, and the function that it describes.
EMBEDDED_INSTRUCTION = "Given a description, retrieve the Python function that it describes"
#: Keys of a task that a recipe turns into prompts, beside those of `training.data_config.TaskConfig`.
INSTRUCTION_KEYS = ("instruction", "symmetric")


def labelled(
    given: Labelled, stage: str, *, template: str | None, batches: Batching, mine: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The `data` of a supervised stage.

    A source is a task. Its name is that of its file or folder, and where `bothways.data.templates.INSTRUCTIONS` knows it, its rows get
    the instruction: before queries, and before documents too where the task is symmetric; prompts of their own give way, with a warning
    when they are read. A folder that holds such files, as E5's training data does, is a task for each, and two of those are two tasks
    (`HALVES`). A mapping says everything itself: {"tasks": [{"name": "fiqa", "source": "fiqa.jsonl", "instruction": "Given a financial
    question, …", "symmetric": False, "weight": 0.5}, …]}, or {"source": …} with the same keys.

    Args:
        given: what to learn from.
        stage: the stage's name, where `given` has data by stage.
        template: how instructions are written, a name of `bothways.data.templates.TEMPLATES`; None gives rows no instruction but
            what they bring.
        batches: "blended" or "homogeneous", unless a mapping says otherwise.
        mine: where negatives of rows without any come from, unless a mapping says otherwise.

    Raises:
        InputError: nothing for this stage, an instruction beside prompts, or `symmetric` without an instruction.
    """
    given = _of_stage(given, stage)
    data = _said(given, template) if isinstance(given, Mapping) else _found(_listed(given), template)
    data.setdefault("batches", batches)
    if mine is not None:
        data.setdefault("mine", dict(mine))
    return data


def stored_prompts(parts: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Prompts to store with an encoder that was trained on these `data`: by name of the task, and "query" where there is one answer.

    All retrieval tasks of one instruction make it the prompt of `encode_query`; if all tasks are one symmetric task, its prompt serves
    both sides. A task without an instruction leaves `encode_query` without one: rows that have no prompt take the encoder's, in
    training as in use, and another task's is not theirs.
    """
    found: dict[str, tuple[str, str]] = {}
    bare = False
    for data in parts:
        for task in data.get("tasks") or (data,):
            if task.get("query_prompt"):
                found[str(task.get("name") or "query")] = (task["query_prompt"], task.get("document_prompt") or "")
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


def _of_stage(given: Labelled, stage: str) -> Labelled:
    if not isinstance(given, Mapping) or given.keys() & {"source", "tasks"}:
        return given
    if stage not in given:
        there = ", ".join(map(repr, given)) or "none"
        raise InputError(
            f"texts: none for stage {stage!r} (there are {there}); a mapping has data by stage, or source or tasks"
        )
    return given[stage]


def _listed(given: Any) -> list[str]:
    sources = [given] if isinstance(given, (str, os.PathLike)) else given
    if not isinstance(sources, (list, tuple)) or not all(isinstance(source, (str, os.PathLike)) for source in sources):
        raise InputError(
            f"labelled rows: expected a file or folder, a list of them, or a mapping with source or tasks (got {given!r})"
        )
    return [os.fspath(source) for source in sources]


def _said(given: Mapping[str, Any], template: str | None) -> dict[str, Any]:
    """A mapping with its instructions turned into prompts."""
    data = dict(given)
    if "tasks" in data:
        data["tasks"] = [_task(task, template) if isinstance(task, Mapping) else task for task in data["tasks"]]
        return data
    data["source"] = _listed(data["source"])
    return _task(data, template)


def _task(given: Mapping[str, Any], template: str | None) -> dict[str, Any]:
    task = {key: value for key, value in given.items() if key not in INSTRUCTION_KEYS}
    name, instruction, symmetric = str(task.get("name", "")), given.get("instruction"), given.get("symmetric")
    own = next((key for key in ("query_prompt", "document_prompt") if task.get(key) is not None), None)
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
            raise InputError(f"task {name!r}: symmetric says where an instruction goes, and there is none; give instruction")
        return task
    return task if own is not None else {**task, **_prompts(template, name, instruction, symmetric)}


def _found(sources: list[str], template: str | None) -> dict[str, Any]:
    """Sources as tasks where at least one of them is known, else all of them as they are."""
    if template is None:
        return {"source": sources}
    parts = [part for source in sources for part in _parts(source)]
    if not any(_known(name) for name, _ in parts):
        return {"source": sources, "template": template}
    strangers = [source for name, source in parts if not _known(name)]
    if strangers:
        log.warning(
            "%s: no instruction is known for a task of this name, so its rows carry what they bring, or none; give it one as "
            '{"name": …, "source": …, "instruction": …}',
            ", ".join(strangers),
        )
    counts = Counter(name for name, _ in parts)
    tasks: list[dict[str, Any]] = []
    for name, source in parts:
        instruction = EMBEDDED_INSTRUCTION if name == EMBEDDED_TEXTS else None
        halves = HALVES.get(name, ())
        for number, each in enumerate(halves or (name,), start=1):
            prompts = _prompts(template, each, instruction, None) if instruction or each in INSTRUCTIONS else {}
            # files of one name in several folders are several tasks
            unique = each if counts[name] == 1 else f"{Path(source).parent.name}-{each}"
            part = {"part": [number, len(halves)]} if halves else {}
            tasks.append({"name": unique, "source": [source], **part, "template": template, **prompts})
    return {"tasks": tasks}


def _known(name: str) -> bool:
    """Whether a source of this name has an instruction, or two."""
    return name in INSTRUCTIONS or name in HALVES or name == EMBEDDED_TEXTS


def _parts(source: str) -> list[tuple[str, str]]:
    """(name, source) of a source, or of each file of a folder of known tasks."""
    path = Path(source).expanduser()
    if path.is_dir() and not is_beir(path):
        files = [(_name(file), str(file)) for file in sorted(path.iterdir()) if file.is_file() and ".json" in file.name]
        if any(_known(name) for name, _ in files):
            return files
    return [(source if source == EMBEDDED_TEXTS else _name(path), source)]


def _name(path: Path) -> str:
    return path.name if path.is_dir() else Path(path.name.removesuffix(".gz")).stem


def _prompts(template: str, name: str, instruction: str | None, symmetric: bool | None) -> dict[str, str]:
    query, document = task_prompts(template, name, instruction=instruction, symmetric=symmetric)
    prompts = {"query_prompt": query, "document_prompt": document}
    known = INSTRUCTIONS.get(name)
    # a class's text is no query, and carries nothing (NV-Embed); another text of the class is one, which reading the rows shows
    return {**prompts, "example_prompt": query} if known is not None and known.classes and symmetric is None else prompts
