"""Reads labeled data for training, in any known dialect: `read_examples`.

The dialect is recognized by the columns of a file's first row, unless you name it. A line of the
log tells how the file was read, so that a wrong layout is seen before training. `dialects/` reads
the rows, `bothways.data.rows` the formats, and `bothways.data.text_sources` the names of sources.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bothways.data.conversion.retrieval import retrieval
from bothways.data.formats.compressed import plain_name
from bothways.data.formats.duckdb_lists import with_lists
from bothways.data.formats.shard_names import shard_of
from bothways.data.labeled.beir import is_beir
from bothways.data.labeled.dialects import DIALECTS, Dialect, detect, named
from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_row import Reading
from bothways.data.labeled.row_cells import LISTS
from bothways.data.labeled.templates import Prompts, Template, find_template
from bothways.data.rows import Row, is_table, iter_rows
from bothways.data.splits import training_rows, warn_left_out
from bothways.data.text_sources import TextSource, iter_hub_rows, resolve_texts
from bothways.errors import InputError
from bothways.progress import Progress

log = logging.getLogger("bothways")

_BEIR = "beir"


class UnknownDialect(InputError):
    """The columns of a file fit no dialect. Nothing of the file has been used yet."""


def read_examples(
    source: str | Path,
    *,
    dialect: str | None = None,
    task: str | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    limit: int | None = None,
    template: str = "nv_embed",
    part: tuple[int, int] | None = None,
) -> list[Example]:
    r"""Read labeled rows.

    Exact repetitions of a row are left out, because two rows with the same positive cannot be each
    other's negatives. Rows without a query or positive are left out too. Both are counted in the
    log. For example, read_examples("org/name:default/train", task="nq") reads a split of a hub
    dataset.

    Args:
        source: a file (.jsonl, .json, .csv, .tsv, .parquet, each also compressed), or a folder of
            such files, each in its own dialect. Or a BEIR folder, whose train judgments are read, a
            hub dataset `org/name:config/split`, or `python-stdlib`: descriptions and code of its
            functions, without those that its retrieval task holds out. `python-stdlib:names` has
            names and comments in place of descriptions.
        dialect: a name of `bothways.data.labeled.dialects.NAMES`. If None, it is recognized by the
            columns.
        task: the task of all examples. If None, the row's `task`, or the name of the file.
        query_prompt: a text before every query. If None, keep the prompts of the file.
        document_prompt: a text before every document. If None, keep the prompts of the file. Rows
            with the same prompt on both sides (symmetric tasks) keep them the same.
        limit: stop after this many examples, at least 1. If None, read everything.
        template: how an instruction of the file (FlagEmbedding's `prompt`) is written before a
            text: a name of `bothways.data.labeled.templates.TEMPLATES`, or a text with
                `{instruction}` in it.
            The default is FlagEmbedding's for decoders, "Instruct: {instruction}\nQuery: ".
        part: (k, n) reads rows k, k + n, k + 2 n, … of each file, so that n calls read each row
            once. If None, read all rows.

    Raises:
        InputError: no known dialect, a broken file, a missing column, a value of the wrong type, or
            no usable row. Names the file and the row.
        SourceError: the source cannot be found or reached.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit: {limit} examples; expected at least 1, or None for all")
    if part is not None and not 1 <= part[0] <= part[1]:
        raise InputError(f"part: {part[0]} of {part[1]}; expected k of n with 1 <= k <= n")
    forced = named(dialect) if dialect not in (None, _BEIR) else None
    with contextlib.closing(
        _examples(source, dialect, forced, find_template(template), part)
    ) as found:
        examples = []
        with Progress("read", limit, "rows") as bar:
            for example in itertools.islice(
                found, limit if limit is None else min(limit, sys.maxsize)
            ):
                examples.append(example)
                bar.advance()
    if not examples:
        raise InputError(
            f"{source}: no usable example; the log says which rows were skipped and why"
        )
    finished = [overridden(example, task, query_prompt, document_prompt) for example in examples]
    _tell_replaced(source, examples, finished)
    return finished


def _examples(
    source: str | Path,
    dialect: str | None,
    forced: Dialect | None,
    template: Template,
    part: tuple[int, int] | None,
) -> Generator[Example, None, None]:
    chosen_rows = (0, None, 1) if part is None else (part[0] - 1, None, part[1])
    if dialect == _BEIR or (dialect is None and is_beir(source)):
        converted = retrieval(source)
        log.info(
            "%s: beir dialect (qrels/train.tsv): %s",
            source,
            "; ".join(line.strip() for line in converted.lines()),
        )
        yield from itertools.islice(converted.examples, *chosen_rows)
        return
    found = resolve_texts(source)
    if found.kind == "embedded":
        from bothways.data.embedded.stdlib_names import embedded_pairs

        yield from itertools.islice(embedded_pairs(found.name), *chosen_rows)
        return
    recognized = False
    seen: dict[str, set[Example]] = {}
    warn_left_out(found.name, found.left_out)
    for file in _files(found):
        rows = itertools.islice(file.rows, *chosen_rows)
        before = seen.setdefault(_split(file.label), set())
        try:
            recognized |= yield from examples_of_file(
                replace(file, rows=rows), forced, template, before
            )
        except UnknownDialect as error:
            if found.kind != "folder":
                raise
            log.warning("%s; the folder's other files are read without it", error)
    if not recognized:
        known = "; ".join(f"{item.name} ({item.shape})" for item in DIALECTS)
        raise InputError(
            f"{found.label}: no labeled rows; expected a file in one of the dialects {known}"
        )


@dataclass(frozen=True)
class LabeledFile:
    """The rows of a file or of a hub dataset.

    Attributes:
        label: its name in messages.
        task: the task of rows that do not name one.
        rows: numbers and columns.
        cells: True if values are cells of a table of text.
    """

    label: str
    task: str
    rows: Iterator[Row]
    cells: bool = False

    @classmethod
    def of(cls, path: Path) -> LabeledFile:
        """Open a file. A shard has the task of its split."""
        shard = shard_of(path)
        task = (
            Path(path.name[: len(plain_name(path.name))]).stem
            if shard is None
            else path.name[: len(shard.stem)]
        )
        rows = training_rows(str(path), iter_rows(path))
        if is_table(path):
            rows = with_lists(str(path), rows, LISTS)
        return cls(str(path), task, rows, is_table(path))


def _files(source: TextSource) -> Iterator[LabeledFile]:
    if source.kind == "hub":
        yield LabeledFile(source.label, source.name.split("/")[-1], iter_hub_rows(source))
    yield from map(LabeledFile.of, source.files)


def examples_of_file(
    file: LabeledFile, forced: Dialect | None, template: Template, seen: set[Example] | None
) -> Generator[Example, None, bool]:
    """Yield the examples of a file. Return whether it holds a row.

    Args:
        file: the file.
        forced: its dialect. If None, it is recognized by the columns.
        template: how an instruction is written before a text.
        seen: examples of the shards before. If None, repetitions are not left out.

    Raises:
        UnknownDialect: the columns fit no dialect.
    """
    first = next(file.rows, None)
    if first is None:
        log.warning("%s: holds no row", file.label)
        return False
    chosen = forced if forced is not None else detect(list(first[1]))
    if chosen is None:
        raise UnknownDialect(_unknown(file.label, first))
    reading = Reading(file.label, file.task, template, file.cells)
    yield from _read(chosen, itertools.chain([first], file.rows), reading, first, seen)
    return True


def _split(label: str) -> str:
    """Return the name of the split that a file is a shard of, or its own name."""
    shard = shard_of(Path(label))
    return label if shard is None else str(Path(label).with_name(f"{shard.stem}{shard.suffix}"))


def _read(
    dialect: Dialect,
    rows: Iterator[Row],
    reading: Reading,
    first: Row,
    seen: set[Example] | None,
) -> Iterator[Example]:
    """Yield the examples of one file, each once, and log the account when the file is done.

    The line is logged too if the reading stops early. `seen` holds the examples of the shards
    before. If it is None, repetitions are yielded too.
    """
    found = 0
    counted = _Counted(rows)
    try:
        for number, example in dialect.read(counted, reading):
            if seen is not None:
                if example in seen:
                    reading.skipped.add("repeated", number)
                    continue
                seen.add(example)
            found += 1
            yield example
    finally:
        _tell_unread(reading, first)
        log.info("%s: %s", reading.label, _account(dialect, reading, first, counted.count, found))


# words in names of columns that can train or that grade a row
_TRAINING_WORDS = {
    *(
        "neg",
        "negs",
        "negative",
        "negatives",
        "pos",
        "positive",
        "positives",
        "score",
        "scores",
        "label",
        "labels",
        "margin",
        "weight",
    ),
    *(
        "instruction",
        "instructions",
        "prompt",
        "prompts",
        "prefix",
        "system",
        "history",
        "passage",
        "passages",
        "document",
        "documents",
    ),
    *(
        "hard",
        "rejected",
        "chosen",
        "answer",
        "answers",
        "response",
        "context",
        "contexts",
        "ctxs",
        "title",
        "text",
        "sentence",
    ),
    *(
        "query",
        "question",
        "anchor",
        "hypothesis",
        "premise",
        "relevance",
        "grade",
        "similarity",
        "images",
        "videos",
        "audios",
    ),
}


def _tell_unread(reading: Reading, first: Row) -> None:
    """Warn about columns that were not read although their names suggest training data."""
    unread = [name for name in first[1] if name not in reading.read and _trains(name)]
    if unread and reading.rows:
        log.warning(
            "%s: column %s is not read in this dialect; rename or remove it, or choose another dialect",
            reading.label,
            ", ".join(map(repr, unread)),
        )


def _trains(name: str) -> bool:
    words = re.findall(r"[a-z]+", name.lower())
    return not _TRAINING_WORDS.isdisjoint(words) and words[-1] not in (
        "id",
        "ids",
        "idx",
        "index",
        "docid",
    )


class _Counted:
    """Counts rows as they pass."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self.rows, self.count = rows, 0

    def __iter__(self) -> Iterator[Row]:
        for row in self.rows:
            self.count += 1
            yield row


def _account(dialect: Dialect, reading: Reading, first: Row, rows: int, examples: int) -> str:
    line = f"{dialect.name} dialect (columns {', '.join(first[1])}): {rows} rows, {examples} examples, "
    line += f"{sum(reading.skipped.counts.values())} skipped"
    parts = [str(reading.skipped), str(reading.repaired), *reading.notes]
    return "; ".join([line, *(part for part in parts if part)])


def _unknown(label: str, first: Row) -> str:
    number, row = first
    there = ", ".join(name if len(name) <= 40 else name[:39] + "…" for name in row) or "none"
    known = "; ".join(f"{item.name} ({item.shape})" for item in DIALECTS)
    return f"{label}, row {number}: the columns {there} fit no known dialect; name it (dialect, data.dialect in a recipe), one of: {known}"


def _tell_replaced(source: str | Path, before: list[Example], after: list[Example]) -> None:
    """Warn if prompts of the rows were replaced, because queries must use the same ones."""
    pairs = [
        (Prompts(a.query_prompt, a.document_prompt), Prompts(b.query_prompt, b.document_prompt))
        for a, b in zip(before, after)
    ]
    lost = [(old, new) for old, new in pairs if old.query and old != new]
    if lost:
        log.warning(
            "%s: %d rows have prompts, the first %s; they are replaced by the %s of their task. Set those to null to keep the "
            "prompts of the rows",
            source,
            len(lost),
            *(
                f"query_prompt {each.query!r} and document_prompt {each.document!r}"
                for each in lost[0]
            ),
        )


def overridden(
    example: Example, task: str | None, query_prompt: str | None, document_prompt: str | None
) -> Example:
    """Return an example with another task or other prompts; see `read_examples`."""
    if task is None and query_prompt is None and document_prompt is None:
        return example
    own = Prompts(example.query_prompt, example.document_prompt)
    symmetric = own.query == own.document != ""
    query = own.query if query_prompt is None else query_prompt
    document = (
        document_prompt if document_prompt is not None else query if symmetric else own.document
    )
    return replace(
        example,
        task=example.task if task is None else task,
        query_prompt=query,
        document_prompt=document,
    )
