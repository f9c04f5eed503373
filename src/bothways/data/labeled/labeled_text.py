"""Texts with a class or cluster, read for training and for evaluation.

Two layouts are known. A row is one text with its label, or with a list of labels. Or a row is a
whole set: a list of texts with a list of labels of the same length (MTEB's older clustering sets).
`bothways.data.conversion` makes training examples of such texts, and `bothways.evaluation.inputs`
scores vectors on them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bothways.data.columns import LABEL, LABELED_TEXT, find_column
from bothways.data.labeled.labeled_row import Fields, Reading
from bothways.data.rows import Row, is_table, iter_rows, type_name
from bothways.data.splits import training_rows, warn_left_out
from bothways.data.text_sources import iter_hub_rows, resolve_texts
from bothways.errors import InputError

log = logging.getLogger("bothways")

_WHOLE = re.compile(r"(-?\d+)(?:\.0+)?")


@dataclass(frozen=True)
class LabeledText:
    """One text with its classes or clusters.

    Attributes:
        text: the text.
        labels: its labels, at least one. Some data has several categories for each text.
        row: the row of the file.
        chosen: the one of `labels` that counts. If "", the first one does.
        number: the number that the column `label` gives to a label read from a column of names.
    """

    text: str
    labels: tuple[str, ...]
    row: int = 0
    chosen: str = ""
    number: int | None = field(default=None, compare=False)

    @property
    def label(self) -> str:
        """The label that counts."""
        return self.chosen or self.labels[0]


@dataclass(frozen=True)
class LabelColumns:
    """Which columns are read, as the user asked.

    Attributes:
        text: the column of the text. If None, the first of `LABELED_TEXT` that the file has.
        label: the column of the label. If None, the first of `LABEL` that the file has.
        separator: cuts a label into several. For example, " " cuts arXiv's "cs.CL cs.LG" in two.
    """

    text: str | None = None
    label: str | None = None
    separator: str | None = None


def read_labeled(
    source: str | Path,
    *,
    text: str | None = None,
    label: str | None = None,
    separator: str | None = None,
) -> list[LabeledText]:
    """Read the texts with labels of a file, folder or hub dataset, for training.

    Args:
        source: what `bothways.data.text.readers.iter_texts` takes.
        text: see `LabelColumns`.
        label: see `LabelColumns`.
        separator: see `LabelColumns`.

    Raises:
        InputError: a missing column, a value that is not a text, or a label that is missing, NaN or
            neither a text nor a whole number. Names the file and the row.
        SourceError: the source cannot be found.
    """
    files = (
        (Reading(name, "", cells=is_table(Path(name))), rows) for name, rows in iter_source(source)
    )
    sets = labeled_sets(files, LabelColumns(text, label, separator))
    if not sets:
        raise InputError(f"{source}: holds no row")
    return [item for part in sets for item in part]


def labeled_sets(
    files: Iterable[tuple[Reading, Iterable[Row]]], columns: LabelColumns
) -> list[list[LabeledText]]:
    """Read the rows of files. The columns are found in the first row of each.

    Returns:
        One set of texts, or as many as there are rows if each row is a set.

    Raises:
        InputError: see `read_labeled`.
    """
    singles: list[LabeledText] = []
    sets: list[list[LabeledText]] = []
    for reading, rows in files:
        names: tuple[str, str] | None = None
        whole_sets = False
        for number, row in rows:
            fields = Fields(number, row, reading)
            if names is None:
                names = _columns(fields, columns)
                whole_sets = all(isinstance(fields.unpacked(name), (list, tuple)) for name in names)
            if whole_sets:
                sets.append(_set(fields, *names))
            else:
                text = fields.text(names[0])
                labels = labels_in(fields, names[1], columns.separator)
                singles.append(LabeledText(text, labels, number, number=_number(row, names[1])))
    return [_plain(part) for part in (singles, *sets) if part]


def iter_source(source: str | Path) -> Iterator[tuple[str, Iterator[Row]]]:
    """Yield the name and rows of every file of a source, without the rows held out of training.

    Raises:
        InputError, SourceError: what `resolve_texts` raises, or the source is the embedded text,
            which has no labels.
    """
    found = resolve_texts(source)
    if found.kind == "embedded":
        raise InputError(f"{source}: has no labels; name a file, folder or hub dataset")
    if found.kind == "hub":
        yield found.label, iter_hub_rows(found)
    warn_left_out(found.name, found.left_out)
    for path in found.files:
        yield str(path), training_rows(str(path), iter_rows(path))


def labels_in(fields: Fields, name: str, separator: str | None) -> tuple[str, ...]:
    """Return the labels in a column of a row, each once.

    Raises:
        InputError: the column is missing, holds no label, or holds one that is neither a name nor
            a whole number.
    """
    value = fields.unpacked(fields.column(name))
    several = list(value) if isinstance(value, (list, tuple)) else [value]
    labels = [fields.label(item) for item in several]
    if separator:
        labels = [part.strip() for item in labels for part in item.split(separator)]
    labels = [item for item in labels if item]
    if not labels:
        raise InputError(
            f"{fields.where}: column {name!r} holds no label; give the row one, or remove it"
        )
    return tuple(dict.fromkeys(labels))


def _columns(fields: Fields, asked: LabelColumns) -> tuple[str, str]:
    """Return the columns of the text and of the label, and log them."""
    text = find_column(fields.where, fields.row, LABELED_TEXT, asked=asked.text, option="text")
    label = find_column(fields.where, fields.row, LABEL, asked=asked.label, option="label")
    log.info("%s: texts from column %r, labels from column %r", fields.reading.label, text, label)
    return text, label


def _set(fields: Fields, text: str, label: str) -> list[LabeledText]:
    """Return the texts of a row that is a whole set."""
    texts, labels = fields.unpacked(text), fields.unpacked(label)
    for name, values in ((text, texts), (label, labels)):
        if not isinstance(values, (list, tuple)):
            raise InputError(
                f"{fields.where}: column {name!r} holds a {type_name(values)}, and a list in the rows before it"
            )
    if len(texts) != len(labels):
        raise InputError(
            f"{fields.where}: columns {text!r} and {label!r} must be lists of one length, but have "
            f"{len(texts)} and {len(labels)} items"
        )
    return [
        LabeledText(fields.clean(one, f"{text}[{place}]"), (fields.label(two),), fields.number)
        for place, (one, two) in enumerate(zip(texts, labels))
    ]


def _number(row: Mapping[str, Any], label: str) -> int | None:
    """Return the number of the label that the row names in another column."""
    value = row.get("label") if label != "label" else None
    whole = None if value is None or isinstance(value, bool) else _WHOLE.fullmatch(str(value))
    return None if whole is None else int(whole[1])


def _plain(items: Sequence[LabeledText]) -> list[LabeledText]:
    """Return the items with labels such as 1.0 as 1, if every label is such a number.

    pandas writes whole numbers in this way when one of the column is missing.
    """
    whole = {label: _WHOLE.fullmatch(label) for item in items for label in item.labels}
    if not all(whole.values()) or all(match and match[0] == match[1] for match in whole.values()):
        return list(items)
    plain = {label: match[1] for label, match in whole.items() if match is not None}
    return [
        LabeledText(item.text, tuple(plain[label] for label in item.labels), item.row, item.chosen)
        for item in items
    ]
