"""Labeled text from a file, for the scores of classification and clustering.

`bothways.data.labeled.labeled_text` reads the file, in training as well as here. Labels may be
words or whole numbers. They become class numbers 0 … C-1 in the order of the numbers, or else of
the alphabet, so that a figure does not depend on the order of rows. Of two classes, class 1 is the
positive one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bothways.data.labeled.labeled_text import LabelColumns, LabeledText, labeled_sets
from bothways.data.labeled.reading import Reading
from bothways.data.rows import iter_rows
from bothways.errors import InputError, MissingExtra
from bothways.evaluation.inputs.split_table import open_split


@dataclass(frozen=True)
class LabeledSet:
    """N texts with one label each.

    Attributes:
        texts: N texts.
        labels: N labels, as text.
        source: the file.
        numbers: the number of each label, if the file has names and numbers of its labels.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    source: str
    numbers: Mapping[str, int] | None = None


def read_labeled_set(
    source: str | Path, *, split: str = "test", text: str | None = None, label: str | None = None
) -> LabeledSet:
    """Read a file of single texts, or one split of a folder.

    Args:
        source: a .jsonl, .json, .csv, .tsv or .parquet file, each also compressed. Or a folder that
            holds `SPLIT.jsonl` or the like.
        split: the split of a folder.
        text: the column of the text. If None, the first usual name (`bothways.data.columns`).
        label: the column of the label. If None, the first usual name.

    Raises:
        InputError: if the split or a column is missing, a value is not a text, a row has several
            labels, a label is neither a word nor a whole number, or there is only one class.
        SourceError: if the file or folder does not exist.
    """
    sets = read_labeled_sets(source, split=split, text=text, label=label)
    if len(sets) > 1:
        raise InputError(
            f"{sets[0].source}: its rows are lists of texts; expected one text and one label a row"
        )
    return sets[0]


def read_labeled_sets(
    source: str | Path, *, split: str, text: str | None = None, label: str | None = None
) -> list[LabeledSet]:
    """Read one set, or one for each row if rows are lists of texts.

    See `read_labeled_set` for arguments and errors.
    """
    table = open_split(source, split)
    table.first()  # refuses an empty table
    readings = (
        (Reading(str(path), "", cells=table.cells, surrogates="refuse"), iter_rows(path))
        for path in table.files
    )
    sets = labeled_sets(readings, LabelColumns(text, label))
    several = next((item for part in sets for item in part if len(item.labels) > 1), None)
    if several is not None:
        raise InputError(
            f"{table.name}, row {several.row}: {len(several.labels)} labels; expected one label a row"
        )
    return [_labeled_set(table.name, part) for part in sets]


def _labeled_set(name: str, items: list[LabeledText]) -> LabeledSet:
    labels = tuple(item.label for item in items)
    if len(set(labels)) < 2:
        raise InputError(
            f"{name}: {len(items)} texts of one class; at least two classes are needed"
        )
    pairs = {(item.label, item.number) for item in items}
    numbers = {label: number for label, number in pairs if number is not None}
    one_to_one = len(pairs) == len(numbers) == len(set(numbers.values()))
    return LabeledSet(
        tuple(item.text for item in items), labels, name, numbers if one_to_one else None
    )


def class_numbers(
    labels: Iterable[str], numbers: Mapping[str, int] | None = None
) -> tuple[list[int], list[str]]:
    """Return the class number of each label, and the C labels in the order of their numbers.

    For example, the labels "b", "a", "b" have the numbers 1, 0, 1 and the order "a", "b".

    Args:
        labels: N labels.
        numbers: orders the labels. If None, they are ordered as numbers if all of them are whole
            numbers, and otherwise by the alphabet.
    """
    labels = list(labels)
    distinct = set(labels)
    if numbers is not None and distinct <= numbers.keys():
        names = sorted(distinct, key=lambda name: numbers[name])
    elif all(name.removeprefix("-").isdecimal() for name in distinct):
        names = sorted(distinct, key=int)
    else:
        names = sorted(distinct)
    number = {name: i for i, name in enumerate(names)}
    return [number[name] for name in labels], names


def joint_numbers(parts: Iterable[LabeledSet]) -> dict[str, int] | None:
    """Return the numbers of the labels of several sets.

    The result is None if a set lacks numbers, or if they differ.
    """
    joint: dict[str, int] = {}
    for part in parts:
        if part.numbers is None:
            return None
        for label, number in part.numbers.items():
            if joint.setdefault(label, number) != number:
                return None
    return joint if len(set(joint.values())) == len(joint) else None


def require_scikit_learn(purpose: str) -> None:
    """Check that scikit-learn is installed.

    Args:
        purpose: the purpose that the error names, for example "clustering".

    Raises:
        MissingExtra: if it is not installed, with the line that installs it.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise MissingExtra("scikit-learn", "eval", purpose) from None
