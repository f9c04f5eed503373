"""Labelled text from a file: what classification and clustering are scored on.

Two layouts: a row is one text with its label, or (MTEB's older clustering sets) a row is a whole set, a list of texts with a list of
labels. Labels may be words or whole numbers; they become class numbers 0 … C-1 in the order of the numbers, or of the alphabet, so
that a figure does not depend on the order of rows, and class 1 is the positive one where there are two. 1.0, which is how pandas
writes a whole number beside a missing one, is the label 1 where every label of a file is such a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bothways.data.formats.cells import Elided, is_missing, listed
from bothways.data.rows import type_name
from bothways.data.text.readers import TEXT_COLUMNS
from bothways.errors import InputError, MissingExtra
from bothways.evaluation.inputs.named_data import checked_text, column
from bothways.evaluation.inputs.split_table import open_split

_TEXT = (*TEXT_COLUMNS, "sentences", "texts")
_LABEL = ("label", "labels", "class", "category", "intent", "topic", "target")
_WHOLE = re.compile(r"(-?\d+)(?:\.0+)?")


@dataclass(frozen=True)
class Labelled:
    """N texts and their labels.

    Attributes:
        texts: N texts.
        labels: N labels, as text.
        source: the file read.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    source: str


def read_labelled(source: str | Path, *, split: str = "test", text: str | None = None, label: str | None = None) -> Labelled:
    """Read a file of single texts, or one split of a folder.

    Args:
        source: a .jsonl, .json, .csv, .tsv or .parquet file, each also with .gz, or a folder that holds `SPLIT.jsonl` or the like.
        split: which file of a folder.
        text, label: columns; found by the names that public data uses if None.

    Raises:
        InputError: no such split or column, a value that is no text, a label that is no word or number, or only one class.
        SourceError: no such file or folder.
    """
    sets = read_labelled_sets(source, split=split, text=text, label=label)
    if len(sets) > 1:
        raise InputError(f"{sets[0].source}: its rows are lists of texts; expected one text and one label a row")
    return sets[0]


def read_labelled_sets(source: str | Path, *, split: str, text: str | None, label: str | None) -> list[Labelled]:
    """Read one set, or as many as there are rows where rows are lists; see `read_labelled`."""
    table = open_split(source, split)
    where, row = table.first()
    text = column(where, row, text, _TEXT, "text")
    label = column(where, row, label, _LABEL, "label")
    rows = table.rows()
    if table.cells and _list_in(where, row, text) is not None and _list_in(where, row, label) is not None:
        rows = ((where, {name: _list_in(where, row, name) for name in (text, label)}) for where, row in rows)
        return [_set(table.name, _cells(where, row, text, label)) for where, row in rows]
    if isinstance(row[text], list):
        return [_set(table.name, _cells(where, row, text, label)) for where, row in rows]
    return [_set(table.name, (_cell(where, row, text, label) for where, row in rows))]


def _list_in(where: str, row: Any, name: str) -> list[Any] | None:
    """The list that a table's cell spells, or None."""
    try:
        return listed(row[name]) if isinstance(row.get(name), str) else None
    except Elided:
        raise InputError(
            f"{where}: column {name!r} holds an array whose middle was written as '...'; write the table again as .jsonl"
        ) from None


def unpacked_cell(where: str, name: str, value: str) -> str | list[Any]:
    """A table's cell as the list of texts that it spells, [] where it is empty, or as it stands.

    Raises:
        InputError: an array that was written without its middle.
    """
    if is_missing(value):
        return []
    found = _list_in(where, {name: value}, name)
    return value if found is None or not all(isinstance(text, str) for text in found) else found


def _set(name: str, cells: Iterable[tuple[str, str]]) -> Labelled:
    pairs = list(cells)
    labels = tuple(label for _, label in pairs)
    whole = [_WHOLE.fullmatch(label) for label in labels]
    if all(whole):
        labels = tuple(match[1] for match in whole if match is not None)
    if len(set(labels)) < 2:
        raise InputError(f"{name}: {len(pairs)} texts of one class; at least two classes are needed")
    return Labelled(tuple(text for text, _ in pairs), labels, name)


def _cells(where: str, row: Any, text: str, label: str) -> Iterator[tuple[str, str]]:
    """The texts and labels of a row that is a set."""
    texts, labels = row.get(text), row.get(label)
    if not isinstance(texts, list) or not isinstance(labels, list) or len(texts) != len(labels):
        raise InputError(f"{where}: columns {text!r} and {label!r} must be lists of one length")
    for value, name in zip(texts, labels):
        yield checked_text(where, text, value), _label(where, label, name)


def _cell(where: str, row: Any, text: str, label: str) -> tuple[str, str]:
    for name in (text, label):
        if name not in row:
            raise InputError(f"{where}: no column {name!r}; the columns there are: {', '.join(row) or 'none'}")
    return checked_text(where, text, row[text]), _label(where, label, row[label])


def _label(where: str, name: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) or (isinstance(value, str) and value.strip()):
        return str(value).strip()
    shown = "nothing" if value is None or value == "" else f"a {type_name(value)}"
    raise InputError(f"{where}: column {name!r} holds {shown}; a label is a word or a whole number")


def class_numbers(labels: Iterable[str]) -> tuple[list[int], list[str]]:
    """The class number of each label, and the C labels in the order of their numbers."""
    labels = list(labels)
    distinct = set(labels)
    numeric = all(name.removeprefix("-").isdecimal() for name in distinct)
    names = sorted(distinct, key=int) if numeric else sorted(distinct)
    number = {name: i for i, name in enumerate(names)}
    return [number[name] for name in labels], names


def require_scikit_learn(purpose: str) -> None:
    """Raise MissingExtra, with the line that installs it, where scikit-learn is not there."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise MissingExtra("scikit-learn", "eval", purpose) from None
