"""Texts with a class or cluster: how they are read, which of them can be used, and which rows become queries.

Shared by classification and clustering, which differ in what a text is and in what its positive is.
"""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bothways.data.conversion.converted import Converted
from bothways.data.decontamination import Overlap
from bothways.data.labeled.labeled_row import Fields, Reading
from bothways.data.rows import Row, is_table, iter_rows
from bothways.data.sources import iter_hub_rows, resolve_texts
from bothways.data.splits import training_rows, warn_left_out
from bothways.data.text.readers import TEXT_COLUMNS
from bothways.data.words import normal_form
from bothways.errors import InputError
from bothways.foreign import why

log = logging.getLogger("bothways")

# names before numbers: label_name says what `label: 18` does not
LABEL_COLUMNS = ("label_text", "label_name", "label", "labels", "category", "categories", "class", "intent", "topic", "tags")


@dataclass(frozen=True)
class Labelled:
    """One text.

    Attributes:
        text: not empty.
        labels: its classes or clusters, one at least; several where the data has several categories a text.
        row: where it stands.
        chosen: the one of `labels` that counts as its own.
    """

    text: str
    labels: tuple[str, ...]
    row: int = 0
    chosen: str = ""

    @property
    def label(self) -> str:
        """Its own label."""
        return self.chosen or self.labels[0]


def iter_source(source: str | Path) -> Iterator[tuple[str, Iterator[Row]]]:
    """Yield (label, rows) of every file of a source, which has to hold columns, without what is held out of training.

    Raises:
        InputError, SourceError: as `resolve_texts`; or the embedded text, which has no labels.
    """
    found = resolve_texts(source)
    if found.kind == "embedded":
        raise InputError(f"{source}: has no labels; name a file, folder or hub dataset")
    if found.kind == "hub":
        yield found.label, iter_hub_rows(found)
    warn_left_out(found.name, found.left_out)
    for path in found.files:
        yield str(path), training_rows(str(path), iter_rows(path))


def read_labelled(
    source: str | Path,
    *,
    text: str | None = None,
    label: str | None = None,
    separator: str | None = None,
) -> list[Labelled]:
    """Read texts with labels from a file, folder or hub dataset.

    Args:
        source: whatever `bothways.data.text.readers` takes.
        text: the text's column; by default the first of the usual names.
        label: the label's column; by default the first of LABEL_COLUMNS. A list is several labels.
        separator: cuts a label that is a text into several, as " " does for arXiv's "cs.CL cs.LG".

    Raises:
        InputError: a missing column, a value that is no text, a label that is missing, NaN or no text or whole number; file and row.
        SourceError: no such source.
    """
    items: list[Labelled] = []
    for name, rows in iter_source(source):
        reading = Reading(name, "", cells=is_table(Path(name)))
        columns: list[str] = []
        for number, row in rows:
            fields = Fields(number, row, reading)
            if not columns:
                columns = [
                    fields.column(*([text] if text else TEXT_COLUMNS)),
                    fields.column(*([label] if label else LABEL_COLUMNS)),
                ]
                log.info("%s: texts from column %r, labels from column %r", name, *columns)
            items.append(Labelled(fields.text(columns[0]), labels_in(fields, columns[1], separator), number))
    if not items:
        raise InputError(f"{source}: holds no row")
    return items


def labels_in(fields: Fields, name: str, separator: str | None) -> tuple[str, ...]:
    """The labels in a column, each once.

    Raises:
        InputError: none, or one that is no name and no whole number.
    """
    value = fields.unpacked(fields.column(name))
    several = list(value) if isinstance(value, (list, tuple)) else [value]
    labels = [fields.label(item) for item in several]
    if separator:
        labels = [part for item in labels for part in item.split(separator)]
    labels = [item.strip() for item in labels if item.strip()]
    if not labels:
        raise InputError(f"{fields.where}: column {name!r} holds no label; give the row one, or remove it")
    return tuple(dict.fromkeys(labels))


def usable(items: Sequence[Labelled], converted: Converted, *, seed: int, without: Overlap | None) -> list[Labelled]:
    """The items that can be learnt from, each text once, each with the label that counts (drawn where it has several).

    Left out and counted: empty texts, texts of evaluation data, repetitions, and texts that occur with labels that have nothing in
    common, since they would be positive and negative of the same class. Comparison is by normal form.
    """
    converted.rows += len(items)
    draw = random.Random(f"{seed}:labels")
    drawn = [draw.choice(item.labels) for item in items]  # drawn for all, so that removals change no other item's label
    labels: dict[str, set[str]] = {}
    clash: set[str] = set()
    for item in items:
        key = normal_form(item.text)
        before = labels.setdefault(key, set(item.labels))
        if before.isdisjoint(item.labels):
            clash.add(key)
        before |= set(item.labels)
    kept: list[Labelled] = []
    seen: set[str] = set()
    for item, own in zip(items, drawn):
        key = normal_form(item.text)
        if not item.text.strip():
            converted.drop("without a text", item.row)
        elif key in clash:
            converted.drop("with contradicting labels", item.row)
        elif key in seen:
            converted.drop("repeated", item.row)
        elif not (without and converted.overlaps(without.find(item.text), item.row)):
            seen.add(key)
            kept.append(Labelled(item.text, item.labels, item.row, own))
    if len({item.label for item in kept}) < 2:
        raise InputError(
            f"{len(kept)} usable texts of {len({item.label for item in kept})} label; expected two labels at least"
        )
    return kept


def read_label_texts(path: str | Path) -> dict[str, str]:
    """A JSON object label -> what it says in words, for labels that do not speak for themselves.

    Raises:
        InputError: the file is no such object.
    """
    try:
        found: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({why(error)}); expected an object label: text") from None
    if not isinstance(found, dict) or not all(isinstance(value, str) and value.strip() for value in found.values()):
        raise InputError(f"{path}: expected a JSON object label: text, with a text that is not empty for each")
    return found


def in_words(labels: Iterable[str], texts: Mapping[str, str] | None) -> dict[str, str]:
    """Each label as words: its given text, or its name with underscores as spaces.

    Raises:
        InputError: a label without a given text where texts are given, a bare number, or two labels of the same words.
    """
    words: dict[str, str] = {}
    for label in labels:
        if texts is not None and label not in texts:
            raise InputError(f"label {label!r}: has no text; give every label one")
        words[label] = texts[label] if texts is not None else " ".join(label.replace("_", " ").split())
        if texts is None and _is_number(label):
            raise InputError(f"label {label!r}: a number says nothing; give the labels' texts, or convert by example")
    twice = {text for text in words.values() if list(words.values()).count(text) > 1}
    if twice:
        raise InputError(f"labels: several of them read {min(twice)!r}; give each its own text")
    return words


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False
