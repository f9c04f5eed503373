"""Rows of labelled data: a row that answers for its own mistakes, and a count of what was passed over.

Used by every reader and conversion. A value of the wrong type, a missing column or scores that do not fit are errors, because they
mean that the file is not what it was taken for; each names the file and the row. A row without a usable text (empty query, no
positive that is not empty) is passed over and counted: such rows are the ordinary dirt of large collections.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bothways.data.formats.cells import Elided, is_missing, listed
from bothways.data.labeled.example import Example
from bothways.data.labeled.templates import TEMPLATES, Prompts, Template
from bothways.data.rows import LONE_SURROGATE, finite_number, type_name
from bothways.errors import InputError
from bothways.foreign import one_line

Numbered = tuple[int, Example]  # with the row (the first one, where several made it)

#: Columns that hold lists and nothing else, so that a text in one of them which looks like a list is one.
LISTS = frozenset(
    (
        *("pos", "neg", "positives", "negatives", "pos_scores", "neg_scores", "scores", "labels"),
        *("positive_passages", "negative_passages", "positive_ctxs", "negative_ctxs", "hard_negative_ctxs", "hard_negatives"),
        *("messages", "positive_messages", "negative_messages"),
    )
)
_WATCHED = 100  # rows of a file in which it is noted which columns a dialect reads


class Tally:
    """How many rows (or single texts) were passed over, why, and where the first of each kind stands."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.first: dict[str, int] = {}

    def add(self, reason: str, row: int, count: int = 1) -> None:
        """Count `count` more cases of `reason`, the first of them in `row`."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        self.first.setdefault(reason, row)

    def __str__(self) -> str:
        return ", ".join(f"{count} {reason} (first: row {self.first[reason]})" for reason, count in self.counts.items())


@dataclass
class Reading:
    """One file being read.

    Attributes:
        label: the file, in messages.
        task: the task of rows that name none.
        template: how an instruction that stands in a row is written before its texts.
        cells: values are cells of a table (CSV, TSV), in which a list is written as text.
        skipped: rows passed over.
        repaired: single texts left out or changed in rows that were kept.
        notes: remarks for the line that is logged, in order, each once.
        read: columns that were looked at, in the first rows.
        rows: how many rows were opened.
    """

    label: str
    task: str
    template: Template = TEMPLATES["none"]
    cells: bool = False
    skipped: Tally = field(default_factory=Tally)
    repaired: Tally = field(default_factory=Tally)
    notes: dict[str, None] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    rows: int = 0


class _Watched(Mapping[str, Any]):
    """A row that notes which of its columns are looked at."""

    def __init__(self, row: Mapping[str, Any], read: set[str]) -> None:
        self._row, self._read = row, read

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return self._row[name]

    def __contains__(self, name: object) -> bool:
        return name in self._row

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)


class Fields:
    """One row, with typed access to its columns; every error names the file and the row."""

    def __init__(self, number: int, row: Mapping[str, Any], reading: Reading) -> None:
        self.number, self.row, self.reading = number, row, reading
        reading.rows += 1
        if reading.rows <= _WATCHED:
            self.row = _Watched(row, reading.read)

    @property
    def where(self) -> str:
        """How messages name the row."""
        return f"{self.reading.label}, row {self.number}"

    def column(self, *names: str) -> str:
        """The first of these columns that the row has.

        Raises:
            InputError: it has none of them.
        """
        for name in names:
            if name in self.row:
                return name
        wanted = " or ".join(repr(name) for name in names)
        raise InputError(f"{self.where}: no column {wanted}; the columns there are: {', '.join(self.row) or 'none'}")

    def given(self, *names: str) -> Any:
        """The value of the first of these columns that is there and not null, or None."""
        return next((self.row[name] for name in names if self.row.get(name) is not None), None)

    def text(self, *names: str) -> str:
        """The text in the first of these columns; "" where it is empty or white space alone.

        Raises:
            InputError: none of the columns is there, or its value is no text.
        """
        name = self.column(*names)
        value = self.row[name]
        if self.reading.cells and value in ("\\N", "<NA>"):
            self.reading.repaired.add(_EMPTIED, self.number)
            return ""
        if self.reading.cells and isinstance(value, str) and self._texts_in(value, name):
            raise InputError(f"{self.where}: column {name!r} holds a list, not a text; give each row one text there")
        return self.clean(value, name)

    def texts(self, *names: str) -> list[str]:
        """The texts in the first of these columns: a list, or one text; [] where none is there or it is null.

        Raises:
            InputError: a value that is neither.
        """
        name = next((name for name in names if not _is_null(self.row.get(name))), None)
        if name is None:
            return []
        value = self.row[name]
        if self.reading.cells and isinstance(value, str) and value and is_missing(value):
            self.reading.repaired.add(_EMPTIED, self.number)
            return []
        value = self.unpacked(name)
        if isinstance(value, (list, tuple)):
            return ["" if _is_null(item) else self.clean(item, f"{name}[{place}]") for place, item in enumerate(value)]
        return [self.clean(value, name)]

    def scores(self, name: str, count: int, of: str) -> list[float] | None:
        """`count` finite numbers from a column, or None where it is missing or null.

        Raises:
            InputError: no list, another length, or a value that is no finite number.
        """
        value = self.unpacked(name)
        if is_missing(value):
            return None
        if self.reading.cells and isinstance(value, str):
            value = finite_number(value, name, self.where)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = [value]
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{self.where}: column {name!r} holds a {type_name(value)}, not a list of numbers")
        if len(value) != count:
            raise InputError(f"{self.where}: {len(value)} values in {name!r}, but {count} texts in {of!r}; give each its score")
        numbers = []
        for item in value:
            if not isinstance(item, (int, float)) or isinstance(item, bool):
                raise InputError(f"{self.where}: column {name!r} holds a {type_name(item)}, not a finite number")
            numbers.append(finite_number(item, name, self.where))
        return numbers

    def listed(self, *names: str) -> Any:
        """The value of the first of these columns that is there and neither null nor empty, a table's list unpacked; or None."""
        name = next((name for name in names if not _is_null(self.row.get(name))), None)
        value = None if name is None else self.unpacked(name)
        if self.reading.cells and isinstance(value, str) and is_missing(value):
            return None
        return None if value == "" else list(value) if isinstance(value, tuple) else value

    def number_in(self, name: str) -> float:
        """The finite number in a column, which a table writes as text.

        Raises:
            InputError: the column is missing, or holds no finite number.
        """
        column = self.column(name)
        return finite_number(self.row[column], column, self.where)

    def label(self, value: Any) -> str:
        """A class or cluster as text; whole numbers count as labels, and 3.0, which is how pandas writes them, is 3.

        Raises:
            InputError: null, empty, NaN, or neither text nor number.
        """
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
            shown = "nothing" if value is None or value == "" else repr(value)
            raise InputError(f"{self.where}: the label is {shown}; give the row a name or whole number, or remove it")
        return self.clean(value, "label").strip() if isinstance(value, str) else str(value)

    def clean(self, value: Any, name: str) -> str:
        """A text without lone surrogates, which no UTF-8 tokenizer takes; "" for white space.

        Raises:
            InputError: `value` is no text.
        """
        if not isinstance(value, str):
            shown = f" ({value!r})" if isinstance(value, (int, float)) else ""
            raise InputError(f"{self.where}: column {name!r} holds a {type_name(value)}{shown}, not a text")
        if LONE_SURROGATE.search(value):
            self.reading.repaired.add("lone surrogates became U+FFFD", self.number)
            value = LONE_SURROGATE.sub("\ufffd", value)
        return "" if value.isspace() else value

    def prompts(self, *, symmetric: bool) -> Prompts:
        """The row's own prompts.

        `query_prompt` and `document_prompt` are taken to the letter. `prompt` or `instruction` is a description of the task and
        goes through the reading's template, unless it ends in white space: then it is a prompt already.
        """
        if "query_prompt" in self.row or "document_prompt" in self.row:
            return Prompts(*(self._literal(name) for name in ("query_prompt", "document_prompt")))
        instruction = self.given("prompt", "instruction")
        if instruction is None:
            return Prompts()
        if not isinstance(instruction, str):
            raise InputError(f"{self.where}: the prompt is a {type_name(instruction)}, not a text")
        if instruction and instruction[-1].isspace():
            return Prompts(instruction, instruction if symmetric else "")
        self.reading.notes[f"prompts as {self.reading.template.query!r}"] = None
        return self.reading.template.prompts(instruction, symmetric=symmetric)

    def example(
        self,
        query: str,
        positives: list[str],
        negatives: list[str],
        *,
        scores: tuple[list[float] | None, list[float] | None] = (None, None),
        prompts: Prompts | None = None,
        label: str | None = None,
        classes: bool = False,
    ) -> Numbered | None:
        """An example of cleaned texts, or None where the row has to be passed over (counted).

        Empty texts are left out with their scores, and texts that the row repeats, which would count twice; so is a negative that is
        one of the positives, which would teach the opposite of itself.
        """
        if not query:
            self.reading.skipped.add("without a query", self.number)
            return None
        kept = _first_of_each(positives)
        if not kept:
            self.reading.skipped.add("without a positive", self.number)
            return None
        right = {positives[place] for place in kept}
        others = [place for place in _first_of_each(negatives) if negatives[place] not in right]
        self._count_losses(positives, negatives)
        task = self.given("task")
        query_prompt, document_prompt = prompts or Prompts()
        return self.number, Example(
            query=query,
            positives=tuple(positives[place] for place in kept),
            negatives=tuple(negatives[place] for place in others),
            positive_scores=_at(scores[0], kept),
            negative_scores=_at(scores[1], others),
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            task=task if isinstance(task, str) and task else self.reading.task,
            label=label,
            labels=self._classes("labels") if classes else (),
            positive_labels=self._classes_of("pos_labels", len(positives), kept) if classes else None,
            negative_labels=self._classes_of("neg_labels", len(negatives), others) if classes else None,
        )

    def _classes(self, name: str) -> tuple[str, ...]:
        """The names in a column that is a list of labels; none where it is something else, since other tools use such names too."""
        value = self.row.get(name)
        return tuple(self.label(each) for each in value) if isinstance(value, (list, tuple)) else ()

    def _classes_of(self, name: str, texts: int, kept: list[int]) -> tuple[tuple[str, ...], ...] | None:
        """For each kept text the labels that a column lists for it: a label or a list of them a text."""
        value = self.row.get(name)
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or len(value) != texts:
            raise InputError(f"{self.where}: column {name!r} must be a list with the labels of each of the {texts} texts")
        every = [each if isinstance(each, (list, tuple)) else [each] for each in value]
        return tuple(tuple(self.label(label) for label in every[place]) for place in kept)

    def _count_losses(self, positives: list[str], negatives: list[str]) -> None:
        right, wrong = _first_of_each(positives), _first_of_each(negatives)
        there = sum(bool(text) for text in (*positives, *negatives))
        losses = {
            "empty texts left out": len(positives) + len(negatives) - there,
            "texts repeated in their row left out": there - len(right) - len(wrong),
            "negatives equal to a positive left out": len({negatives[at] for at in wrong} & {positives[at] for at in right}),
        }
        for reason, count in losses.items():
            if count:
                self.reading.repaired.add(reason, self.number, count)

    def _literal(self, name: str) -> str:
        value = self.row.get(name)
        if value is not None and not isinstance(value, str):
            raise InputError(f"{self.where}: column {name!r} holds a {type_name(value)}, not a text")
        return value or ""

    def unpacked(self, name: str) -> Any:
        """The value of a column, with the list that a table's cell spells read as a list; None where there is no such column.

        Numbers in brackets are a list where scores or labels belong, and a text elsewhere. In other formats a string is a string.

        Raises:
            InputError: an array written without its middle, or a column of LISTS with a list that is cut short, or, in a format that
                has lists, with several texts spelled as one string.
        """
        value = self.row.get(name)
        if not isinstance(value, str) or not (self.reading.cells or name in LISTS):
            return value
        found = self._list_in(value, name)
        texts = found is not None and all(isinstance(item, (str, list, dict)) or item is None for item in found)
        if not self.reading.cells:
            if found is not None and len(found) > 1 and texts:
                raise InputError(
                    f"{self.where}: column {name!r} holds a list that is written as one string, {one_line(repr(value), 80)}; write it as "
                    "a list"
                )
            return value
        return found if texts or (found is not None and name in LISTS) else value

    def _texts_in(self, value: str, name: str) -> bool:
        """Whether a cell spells a list of texts."""
        found = self._list_in(value, name)
        return bool(found) and all(isinstance(item, str) for item in found or ())

    def _list_in(self, value: str, name: str) -> list[Any] | None:
        try:
            found = listed(value)
        except Elided:
            raise InputError(
                f"{self.where}: column {name!r} holds an array whose middle was written as '...'; write the table again as .jsonl"
            ) from None
        text = value.strip()
        if found is None and self.reading.cells and name in LISTS and text.startswith(("['", '["', "[np.")):
            raise InputError(
                f"{self.where}: column {name!r} holds {one_line(repr(text), 80)}, which is not a whole list; write it as JSON, "
                '["first", "second"]'
            )
        return found


_EMPTIED = "cells of nan, None or \\N taken as empty"


def _is_null(value: Any) -> bool:
    """Whether a value is none: null, or NaN, which is what pandas makes of it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _first_of_each(texts: list[str]) -> list[int]:
    """Places of the texts that are not empty, each text once."""
    first: dict[str, int] = {}
    for place, text in enumerate(texts):
        if text:
            first.setdefault(text, place)
    return list(first.values())


def _at(scores: list[float] | None, places: list[int]) -> tuple[float, ...] | None:
    return None if scores is None else tuple(scores[place] for place in places)
