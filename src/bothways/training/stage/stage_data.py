"""Reads the data of a stage: texts or labeled examples, from the recipe's sources or from memory.

Objectives differ in the kind of data that they want (`ObjectiveConfig.wants`), but the trainer does
not see it: it hands `StageData.items` to the objective. A new kind of data is one loader in
`LOADERS`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bothways.data.batches import TaskRows
from bothways.data.fingerprint import describe_texts, fingerprint_texts
from bothways.data.labeled.classes import documents_are_labels, without_classes
from bothways.data.labeled.example import Example
from bothways.data.labeled.graded_pairs import GradedPair, graded_pairs
from bothways.data.labeled.labeled_reader import read_examples
from bothways.data.text.documents import read_documents
from bothways.data.text.passages import Passage, excerpts, read_passages
from bothways.data.text.readers import read_texts
from bothways.errors import InputError
from bothways.training.recipe.data_config import DataConfig, TaskConfig
from bothways.training.recipe.stage_config import Stage
from bothways.training.stage.bm25_negatives import fill
from bothways.training.stream.stage_stream import StageStream, open_stream

log = logging.getLogger("bothways")

GivenTexts = Sequence[Any] | Mapping[str, Sequence[Any]] | None
"""Data in memory for every stage, or by stage name, in place of the recipe's sources.

Rows are texts, or of another kind that the stage's objective wants. For example, {"mntp": ["a
text", "another"]}."""


@dataclass(frozen=True)
class StageData:
    """The training data of a stage.

    Attributes:
        items: rows of the kind that the objective wants, in order.
        texts: plain texts among them, for the collapse watch and the verification of the merge.
        origin: sources of the rows, for provenance, as plain JSON types.
        fingerprint: SHA-256 (hex) over all rows in order.
        groups: rows by task and weight, or one group if the data has neither.
        held_out: rows before `items` that are not trained on. The held-out loss is read on them.
        rows: maximum number of examples that the objective may make of `items`. If None, all.
        stream: the whole data, if it streams. Then `items` is a sample of it. If None, `items` is
            the whole data.
    """

    items: Sequence[Any]
    texts: list[str]
    origin: list[dict[str, Any]]
    fingerprint: str
    groups: tuple[TaskRows, ...] = ()
    held_out: Sequence[Any] = ()
    rows: int | None = None
    stream: StageStream | None = None

    def first(self, examples: Sequence[Any]) -> Sequence[Any]:
        """Return the examples that are trained on, of all that the objective made of `items`."""
        return examples[: self.rows]

    def groups_of(self, examples: int) -> tuple[TaskRows, ...]:
        """Return the groups of the objective's examples.

        Args:
            examples: number of examples that the objective made of `items`. If rows have tasks or
                weights, it must be one per row.
        """
        if not self.groups:
            return (TaskRows(range(examples)),)
        if examples != len(self.items):
            raise RuntimeError(
                f"{len(self.items)} rows with tasks became {examples} examples: weights cannot be kept"
            )
        return self.groups


def read_stage_data(stage: Stage, given: GivenTexts = None) -> StageData:
    """Read the data of a stage: each source in order, or the data given in memory.

    Raises:
        InputError: if a source cannot be read, if nothing is given for this stage, or if rows are
            not of the kind that the objective wants.
        SourceError: if a source cannot be found.
    """
    data = replace(_all_data(stage, given), rows=stage.data.rows)
    share = None if stage.heldout is None else stage.heldout.share
    if share is None:
        return data
    # The datasets library rounds a percentage of rows like this, and LLM2Vec's script takes the
    # first.
    count = round(len(data.items) * share)
    if count == 0:
        log.warning(
            "stages.%s.heldout: %d texts are too few to hold any out", stage.name, len(data.items)
        )
        return data
    rest = data.items[count:]
    origin = [*data.origin, {"held_out": count}]
    texts = data.texts[count:] if len(data.texts) == len(data.items) else data.texts
    return replace(
        data,
        items=rest,
        texts=texts,
        origin=origin,
        fingerprint=fingerprint_texts([data.fingerprint, str(count)]),
        held_out=data.items[:count],
    )


def _all_data(stage: Stage, given: GivenTexts) -> StageData:
    wants = stage.objective.wants
    if stage.data.stream is not None:
        if given is not None:
            raise InputError(
                f"stages.{stage.name}.data.stream: the texts are in memory already; leave stream out, or name files in data.source"
            )
        return _streamed(stage.data, wants)
    if given is None:
        return read_data(stage.data, wants)
    if isinstance(given, Mapping):
        if stage.name not in given:
            raise InputError(
                f"texts: none for stage {stage.name!r} (the mapping has {', '.join(map(repr, given)) or 'none'})"
            )
        given = given[stage.name]
    if isinstance(given, str):
        raise InputError(
            "texts: expected a list of texts, got one string; name a file or a folder in the recipe's data.source"
        )
    return LOADERS[wants].given(list(given), stage.data)


def read_data(data: DataConfig, wants: str) -> StageData:
    """Read the rows of each source in order, up to the config's limit of each.

    Args:
        data: sources, or tasks.
        wants: kind of the rows, see `ObjectiveConfig.wants`.
    """
    return LOADERS[wants].read(data)


def _streamed(data: DataConfig, wants: str) -> StageData:
    """Open the sources of a stage that streams, and read a sample of their items."""
    stream = open_stream(data, wants)
    rows = stream.sample
    if wants == "examples":
        texts = [row.query for row in rows] + [row.positives[0] for row in rows]
    else:
        texts = excerpts(rows) if wants == "documents" or data.unit == "auto" else rows
    return StageData(rows, texts, stream.origin, stream.fingerprint, stream=stream)


# --- texts ----------------------------------------------------------------------------------------


def _read_texts(data: DataConfig) -> StageData:
    if data.unit == "auto":
        return _read_documents(data)
    texts: list[str] = []
    origin = []
    for source in data.source:
        found = read_texts(source, column=data.column, limit=data.limit)
        origin.append(describe_texts(source, texts=found))
        texts += found
    return StageData(texts, texts, origin, fingerprint_texts(texts))


def _read_documents(data: DataConfig) -> StageData:
    documents: list[str] = []
    origin = []
    for source in data.source:
        found = read_documents(
            source, column=data.column, limit=data.limit, unit=data.unit or "auto"
        )
        origin.append(
            {**describe_texts(source), "documents": len(found), "sha256": fingerprint_texts(found)}
        )
        documents += found
    return StageData(documents, excerpts(documents), origin, fingerprint_texts(documents))


def _given_texts(rows: list[Any], data: DataConfig) -> StageData:
    for index, row in enumerate(rows):
        if not isinstance(row, str):
            raise InputError(f"texts[{index}]: must be a string (got {type(row).__name__})")
    digest = fingerprint_texts(rows)
    return StageData(
        rows, rows, [{"source": "memory", "texts": len(rows), "sha256": digest}], digest
    )


# --- labeled examples -----------------------------------------------------------------------------


def _read_examples(data: DataConfig) -> StageData:
    rows: list[Example] = []
    weights: list[float] = []
    origin = []
    parts = [
        (task, source, _examples_of(task, source))
        for task in data.all_tasks()
        for source in task.source
    ]
    if data.leave_out_labeled:
        parts = _unlabeled(parts)
    for task, source, found in parts:
        if data.mine is not None:
            found = fill(found, data.mine, source)
        weights += [task.weight] * len(found)
        rows += found
        names = sorted({row.task for row in found})
        facts = {
            "tasks": names,
            "examples": len(found),
            "sha256": fingerprint_examples(found),
            "weight": task.weight,
        }
        origin.append({**describe_texts(source), **facts})
    return _stage_examples(rows, weights, origin)


def _unlabeled(
    parts: list[tuple[TaskConfig, str, list[Example]]],
) -> list[tuple[TaskConfig, str, list[Example]]]:
    """Return the parts without classification and clustering, or all if there are no others."""
    kept = [(task, source, without_classes(rows)) for task, source, rows in parts]
    before, after = (sum(len(rows) for _, _, rows in some) for some in (parts, kept))
    if not after:
        log.warning(
            "all %d rows have a label, so this stage, which is for rows without, takes them all. Texts of a row's class are not its "
            "negatives. Give the stage retrieval data (--option retrieval=…), or use --option order=single",
            before,
        )
        return parts
    if after < before:
        log.info(
            "%d of %d rows have a label. They are left out of this stage, which learns retrieval",
            before - after,
            before,
        )
    return [part for part in kept if part[2]]


def _examples_of(task: TaskConfig, source: str) -> list[Example]:
    rows = read_examples(
        source,
        dialect=task.dialect,
        task=task.name or None,
        query_prompt=task.query_prompt,
        document_prompt=task.document_prompt,
        limit=task.limit,
        template=task.template,
        part=task.part,
    )
    if task.example_prompt is None or documents_are_labels(rows):
        return rows
    return [replace(row, document_prompt=task.example_prompt) for row in rows]


def _given_examples(rows: list[Any], data: DataConfig) -> StageData:
    for index, row in enumerate(rows):
        if not isinstance(row, Example):
            raise InputError(
                f"texts[{index}]: the objective learns from labeled rows, bothways.data.labeled.example.Example "
                f"(got {type(row).__name__})"
            )
    if data.mine is not None and rows:
        rows = fill(rows, data.mine)
    origin = [{"source": "memory", "examples": len(rows), "sha256": fingerprint_examples(rows)}]
    return _stage_examples(rows, [1.0] * len(rows), origin)


def _stage_examples(
    rows: list[Example], weights: list[float], origin: list[dict[str, Any]]
) -> StageData:
    members: dict[tuple[str, float], list[int]] = {}
    for number, (row, weight) in enumerate(zip(rows, weights)):
        members.setdefault((row.task, weight), []).append(number)
    groups = tuple(TaskRows(numbers, task, weight) for (task, weight), numbers in members.items())
    texts = [row.query for row in rows] + [row.positives[0] for row in rows]
    return StageData(rows, texts, origin, fingerprint_examples(rows), groups)


def fingerprint_examples(rows: Sequence[Example]) -> str:
    """Return the SHA-256 (hex) over every field of every row, in order.

    See `data.fingerprint.fingerprint_texts`.
    """
    return fingerprint_texts(
        json.dumps(list(vars(row).values()), ensure_ascii=True) for row in rows
    )


# --- documents and consecutive passages -----------------------------------------------------------


def _read_passages(data: DataConfig) -> StageData:
    rows: list[str | Passage] = []
    origin = []
    for source in data.source:
        found = read_passages(
            source, column=data.column, limit=data.limit, unit=data.unit or "auto"
        )
        facts = {"documents": len(found), "sha256": fingerprint_passages(found)}
        origin.append({**describe_texts(source), **facts})
        rows += found
    return StageData(rows, excerpts(rows), origin, fingerprint_passages(rows))


def _given_passages(rows: list[Any], data: DataConfig) -> StageData:
    for index, row in enumerate(rows):
        if not isinstance(row, (str, Passage)):
            raise InputError(
                f"texts[{index}]: the objective learns from documents: strings, or bothways.data.text.passages.Passage "
                f"(got {type(row).__name__})"
            )
    digest = fingerprint_passages(rows)
    return StageData(
        rows,
        excerpts(rows),
        [{"source": "memory", "documents": len(rows), "sha256": digest}],
        digest,
    )


def fingerprint_passages(rows: Sequence[str | Passage]) -> str:
    """Return the SHA-256 (hex) over every document and pair, in order."""
    return fingerprint_texts(
        json.dumps(row if isinstance(row, str) else list(vars(row).values()), ensure_ascii=True)
        for row in rows
    )


# --- graded pairs ---------------------------------------------------------------------------------


def _read_graded(data: DataConfig) -> StageData:
    rows: list[GradedPair] = []
    origin = []
    for source in data.source:
        found = graded_pairs(source, data.limit)
        facts = {"pairs": len(found), "sha256": fingerprint_pairs(found)}
        origin.append({**describe_texts(source), **facts})
        rows += found
    return _stage_pairs(rows, origin)


def _given_graded(rows: list[Any], data: DataConfig) -> StageData:
    for index, row in enumerate(rows):
        if not isinstance(row, GradedPair):
            raise InputError(
                f"texts[{index}]: the objective learns from scored pairs, bothways.data.labeled.graded_pairs.GradedPair "
                f"(got {type(row).__name__})"
            )
    return _stage_pairs(
        rows, [{"source": "memory", "pairs": len(rows), "sha256": fingerprint_pairs(rows)}]
    )


def _stage_pairs(rows: list[GradedPair], origin: list[dict[str, Any]]) -> StageData:
    texts = [text for row in rows for text in (row.first, row.second)]
    return StageData(rows, texts, origin, fingerprint_pairs(rows))


def fingerprint_pairs(rows: Sequence[GradedPair]) -> str:
    """Return the SHA-256 (hex) over texts, score and source number of every pair, in order."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(row.group for row in rows))}
    return fingerprint_texts(
        json.dumps([*row[:3], numbers[row.group]], ensure_ascii=True) for row in rows
    )


@dataclass(frozen=True)
class Loader:
    """Reads one kind of data from a recipe's sources, and checks rows given in memory."""

    read: Callable[[DataConfig], StageData]
    given: Callable[[list[Any], DataConfig], StageData]


LOADERS: dict[str, Loader] = {
    "texts": Loader(_read_texts, _given_texts),
    "documents": Loader(_read_documents, _given_texts),
    "examples": Loader(_read_examples, _given_examples),
    "passages": Loader(_read_passages, _given_passages),
    "pairs": Loader(_read_graded, _given_graded),
}
"""Loaders by `ObjectiveConfig.wants`."""
