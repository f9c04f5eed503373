"""Classification as retrieval of the label's text, or of another text of the same class.

In NV-Embed version 1 (arXiv 2405.17428) the positive is the text of the label, and the negatives
are the texts of all other labels. Version 2 keeps this for two classes and takes examples for more.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from bothways.data.conversion.by_example import by_example
from bothways.data.conversion.converted import Converted
from bothways.data.conversion.label_texts import in_words, usable
from bothways.data.conversion.options import By, ClassOptions
from bothways.data.conversion.stratified import stratified
from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_text import LabeledText
from bothways.data.words import normal_form
from bothways.errors import InputError
from bothways.nearest import meant


def classification(items: Sequence[LabeledText], options: ClassOptions | None = None) -> Converted:
    """Return examples of texts with classes.

    For example, classification(items, ClassOptions(by="label", label_texts={"18": "sports"})).

    Args:
        items: texts with labels.
        options: if None, the defaults, with the task "classification". Label texts are documents,
            so they carry the prompt of documents.

    Raises:
        InputError: `by` is unknown, there are fewer than two labels, or a label has no text.
    """
    options = options or ClassOptions(task="classification")
    chosen = settled(options.by, items)
    return (by_label if chosen == "label" else by_example)(items, replace(options, by=chosen))


def settled(by: By, items: Sequence[LabeledText]) -> Literal["label", "example"]:
    """Return the meaning of "auto" for these items: "label" for two classes, "example" for more.

    If no two texts share a label, a class has no other example, so the answer is "label".

    Raises:
        InputError: `by` is unknown.
    """
    if by not in ("auto", "label", "example"):
        raise InputError(
            f"by: {by!r}; {meant(by, get_args(By))}expected 'auto', 'label' or 'example'"
        )
    if by != "auto":
        return by
    members: dict[str, set[str]] = {}
    for item in items:
        for label in item.labels:
            members.setdefault(label, set()).add(normal_form(item.text))
    alone = all(len(texts) == 1 for texts in members.values())
    return "label" if len(members) == 2 or alone else "example"


def by_label(items: Sequence[LabeledText], options: ClassOptions | None = None) -> Converted:
    """Return examples of a text, the text of its label, and the texts of other labels.

    Raises:
        InputError: there are fewer than two labels, or a label has no text.
    """
    options = options or ClassOptions(task="classification")
    negatives = options.negatives
    if negatives is not None and negatives < 0:
        raise InputError(
            f"negatives: {negatives}; expected a number of other labels, or none for all"
        )
    converted = Converted()
    kept = usable(items, converted, seed=options.seed, without=options.without)
    words = in_words(sorted({label for item in kept for label in item.labels}), options.label_texts)
    chosen = stratified(
        [item.label for item in kept],
        per_label=options.per_label,
        total=options.total,
        seed=options.seed,
    )
    if len(chosen) < len(kept):
        converted.drop("not drawn as a query", count=len(kept) - len(chosen))
    draw = random.Random(f"{options.seed}:labels of others")
    for place in chosen:
        item = kept[place]
        others = [label for label in words if label not in item.labels]
        if negatives is not None and negatives < len(others):
            others = draw.sample(others, negatives)
        converted.examples.append(
            Example(
                item.text,
                (words[item.label],),
                tuple(words[label] for label in others),
                query_prompt=options.prompts.query,
                document_prompt=options.prompts.document,
                task=options.task,
                label=item.label,
                labels=item.labels if len(item.labels) > 1 else (),
                negative_labels=tuple((label,) for label in others),
            )
        )
    return converted
