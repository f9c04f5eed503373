"""The names that public data sets give their columns, and how a column is found and a text is read.

Training readers (`data/labeled`, `data/conversion`) and evaluation readers (`evaluation/inputs` and
the tasks) use this one table, so both read the same file in the same way. Add a name here when a
public data set uses another one. The order of a tuple is the order of preference.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

from bothways.data.formats.cells import Elided, listed
from bothways.data.rows import LONE_SURROGATE, type_name
from bothways.errors import InputError
from bothways.nearest import meant

TEXT = (
    "text",
    "sentence",
    "content",
    "document",
    "passage",
    "sentence1",
    "premise",
    "question",
    "query",
    "title",
)
"""Single texts. The first five are the usual names of unlabeled text."""

DOCUMENT_TEXT = TEXT[:5]
"""Whole documents."""

LABELED_TEXT = (*TEXT, "sentences", "texts")
"""Texts that have a class or cluster. Plurals are lists (MTEB's older clustering sets)."""

LABEL = (
    *("label_text", "label_name", "label", "labels", "category", "categories"),
    *("class", "intent", "topic", "target", "tags"),
)
"""Classes and clusters. Names come before numbers, because "sports" says more than 18."""

LABEL_NAMES = LABEL[:2]
"""The columns of `LABEL` that name what a column `label` numbers."""

TITLE = ("title", "headline", "sentence", "sentences", "text", "question")
"""Titles of documents that have a category."""

BODY = ("abstract", "body", "paragraph", "description", "content", "text")
"""Bodies of documents that have a category."""

PAIR = (
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("question1", "question2"),
    ("sentence_A", "sentence_B"),
    ("premise", "hypothesis"),
)
"""The two texts of a pair of equals."""

SCORE = ("score", "similarity", "similarity_score", "relatedness_score")
"""The gold similarity of a pair."""

DUPLICATE = ("is_duplicate", "is_paraphrase", "binary_label")
"""1 if the two texts of a pair mean the same, otherwise 0."""

ANSWERS = ("label", "labels", "relevance")
"""1 if a document answers its query, otherwise 0."""

QUERY = ("query", "question", "anchor", "query_text")
"""Queries that have positives, negatives or candidates."""

POSITIVE = ("pos", "positive", "positives")
"""The answers of a query: one text or a list."""

NEGATIVE = ("neg", "negative", "negatives", "hard_negative", "hard_negatives")
"""Texts that do not answer a query: one text or a list."""

DOCUMENT = ("document", "passage", "answer", "candidate", "text", "sentence")
"""One document of a query, in a row of its own."""

ANSWERED = (("query", "document"), ("query", "passage"), ("question", "answer"))
"""Queries and their answers, one pair a row, without positives or negatives by name."""

EVALUATED = tuple(
    dict.fromkeys(
        (*LABELED_TEXT, *itertools.chain(*PAIR), *QUERY, *DOCUMENT, *TITLE, *BODY, "sent0", "sent1")
    )
)
"""Every column of an evaluation set that training may not repeat."""

NLI = (("premise", "sentence1"), ("hypothesis", "sentence2"), ("label", "gold_label"))
"""Premise, hypothesis and label of natural language inference."""

Surrogates = Literal["repair", "refuse"]
"""How lone surrogates are treated: U+FFFD in training, an error in evaluation."""


class NoKnownColumn(InputError):
    """None of the usual names is among the columns. Nothing of the file has been used yet."""


def find_column(
    where: str,
    names: Collection[str],
    usual: Sequence[str],
    *,
    asked: str | None = None,
    option: str = "",
    what: str = "",
) -> str:
    """Return the column `asked`, or the first of the `usual` names that is among the columns.

    For example, find_column("a.csv, row 2", ["id", "headline", "label"], TITLE) is "headline".

    Args:
        where: the file and row, for messages.
        names: the columns that the row has.
        usual: names in order of preference.
        asked: the name that the user gave. It must be among the columns.
        option: the option that names the column, for messages.
        what: the content of the column, for messages. If "", it is called as the option.

    Raises:
        NoKnownColumn: nothing was asked for, and none of the usual names is there.
        InputError: the column that was asked for is missing.
    """
    if asked is not None:
        if asked not in names:
            raise InputError(
                f"{where}: no column {asked!r}; {meant(asked, names)}the columns are: {listed_columns(names)}"
            )
        return asked
    for name in usual:
        if name in names:
            return name
    if option:
        raise NoKnownColumn(
            f"{where}: no column for {what or option}, such as {usual[0]!r}; name it with {option}=, one of: {listed_columns(names)}"
        )
    wanted = (
        " or ".join(map(repr, usual)) if len(usual) < 4 else f"{usual[0]!r} or another usual name"
    )
    raise NoKnownColumn(f"{where}: no column {wanted}; the columns are: {listed_columns(names)}")


def find_pair(
    where: str,
    names: Collection[str],
    *,
    asked: tuple[str | None, str | None] = (None, None),
    usual: Sequence[tuple[str, str]] = PAIR,
    options: tuple[str, str] = ("first", "second"),
) -> tuple[str, str]:
    """Return the columns of the two texts of a pair.

    For example, a file with the columns text1, text2 and score has the pair ("text1", "text2").

    Args:
        where: the file and row, for messages.
        names: the columns that the row has.
        asked: the names that the user gave, or None for each that is to be found.
        usual: couples in order of preference. A couple counts if both columns are there.
        options: the options that name the two, for messages.

    Raises:
        InputError: a column that was asked for is missing, or no couple is there.
    """
    couple = next((couple for couple in usual if couple[0] in names and couple[1] in names), None)
    found = []
    for place, option in enumerate(options):
        known = () if couple is None else (couple[place],)
        if asked[place] is None and not known:
            raise NoKnownColumn(
                f"{where}: no column for {option}, such as {usual[0][place]!r}; name it with {option}=, one of: {listed_columns(names)}"
            )
        found.append(find_column(where, names, known, asked=asked[place], option=option))
    return found[0], found[1]


def read_text(where: str, name: str, value: object, *, surrogates: Surrogates) -> str:
    r"""Return `value` if it is a text that a tokenizer can take.

    For example, read_text("a.jsonl, row 1", "text", "a\ud800", surrogates="repair") is "a\ufffd".

    Args:
        where: the file and row, for messages.
        name: the column.
        value: the cell.
        surrogates: "repair" replaces each lone surrogate with U+FFFD. "refuse" raises an error,
            because a changed text would change a score in silence.

    Raises:
        InputError: `value` is not a text, or holds a lone surrogate that may not be repaired.
    """
    if not isinstance(value, str):
        number = f" ({value!r})" if isinstance(value, (int, float)) else ""
        raise InputError(f"{where}: column {name!r} holds a {type_name(value)}{number}, not a text")
    if LONE_SURROGATE.search(value) is None:
        return value
    if surrogates == "refuse":
        raise InputError(
            f"{where}: column {name!r} holds a lone surrogate, which is not a character; repair the text"
        )
    return LONE_SURROGATE.sub("\ufffd", value)


def text_in(where: str, row: Mapping[str, Any], name: str, *, surrogates: Surrogates) -> str:
    """Return the text in a column of a row; see `read_text`.

    Raises:
        InputError: the row lacks the column, or what `read_text` raises.
    """
    return read_text(where, find_column(where, row, (name,)), row.get(name), surrogates=surrogates)


def list_in(where: str, name: str, cell: str) -> list[Any] | None:
    """Return the list that a table's cell spells, or None if it spells none.

    For example, the cell "['a', 'b']" is the list of "a" and "b".

    Raises:
        InputError: the cell is an array that was written without its middle.
    """
    try:
        return listed(cell)
    except Elided:
        raise InputError(
            f"{where}: column {name!r} holds an array with '...' for its middle; write the table again as .jsonl"
        ) from None


def listed_columns(names: Iterable[str]) -> str:
    """Return column names for a message, each cut at 40 characters, or "none"."""
    return ", ".join(name if len(name) <= 40 else name[:39] + "…" for name in names) or "none"
