"""Classification as retrieval of the label's text, or of a text of the same class.

NV-Embed (arXiv 2405.17428): version 1 has the text of the label as positive and those of all other labels as negatives; version 2
keeps that for two classes and takes examples for more.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Literal

from bothways.data.conversion.by_example import NEGATIVES, by_example
from bothways.data.conversion.converted import Converted
from bothways.data.conversion.labeled_text import in_words, usable
from bothways.data.conversion.stratified import stratified
from bothways.data.decontamination import Overlap
from bothways.data.labeled.example import Example
from bothways.data.labeled.labeled_text import LabeledText
from bothways.data.labeled.templates import Prompts
from bothways.data.words import normal_form
from bothways.errors import InputError

By = Literal["auto", "label", "example"]


def classification(
    items: Sequence[LabeledText],
    *,
    by: By = "auto",
    label_texts: Mapping[str, str] | None = None,
    negatives: int | None = None,
    per_label: int | None = None,
    total: int | None = None,
    seed: int = 0,
    task: str = "classification",
    prompts: Prompts | None = None,
    without: Overlap | None = None,
) -> Converted:
    """Examples from texts with classes.

    Args:
        items: texts with labels.
        by: "label" for label texts, "example" for other texts, "auto" for label texts if there are two classes, or one text of
            each, and examples if there are more, as NV-Embed v2.
        label_texts: label -> its words, by label; by default its name with spaces for underscores.
        negatives: by label, the number of other labels (None: all of them); by example, of texts (None: 7).
        per_label, total, seed, task, without: see `by_example`.
        prompts: of queries and documents; label texts are documents and carry none of the query's instruction by themselves.

    Raises:
        InputError: `by` unknown, fewer than two labels, or labels without words.
    """
    if settled(by, items) == "label":
        return by_label(
            items,
            label_texts=label_texts,
            negatives=negatives,
            per_label=per_label,
            total=total,
            seed=seed,
            task=task,
            prompts=prompts,
            without=without,
        )
    return by_example(
        items,
        negatives=NEGATIVES if negatives is None else negatives,
        per_label=per_label,
        total=total,
        seed=seed,
        task=task,
        prompts=prompts,
        without=without,
    )


def settled(by: By, items: Sequence[LabeledText]) -> Literal["label", "example"]:
    """What "auto" means for these items: label texts for two classes, examples for more.

    If no two texts share a label, there are no examples of any class, so label texts are all there is.

    Raises:
        InputError: `by` unknown.
    """
    if by not in ("auto", "label", "example"):
        raise InputError(f"by: {by!r}; expected 'auto', 'label' or 'example'")
    if by != "auto":
        return by
    members: dict[str, set[str]] = {}
    for item in items:
        for label in item.labels:
            members.setdefault(label, set()).add(normal_form(item.text))
    alone = all(len(texts) == 1 for texts in members.values())
    return "label" if len(members) == 2 or alone else "example"


def by_label(
    items: Sequence[LabeledText],
    *,
    label_texts: Mapping[str, str] | None = None,
    negatives: int | None = None,
    per_label: int | None = None,
    total: int | None = None,
    seed: int = 0,
    task: str = "classification",
    prompts: Prompts | None = None,
    without: Overlap | None = None,
) -> Converted:
    """Examples of a text, the words of its label, and those of other labels; arguments as `classification`.

    Raises:
        InputError: fewer than two labels, or labels without words.
    """
    if negatives is not None and negatives < 0:
        raise InputError(f"negatives: {negatives}; expected a number of other labels, or none for all")
    converted = Converted()
    kept = usable(items, converted, seed=seed, without=without)
    words = in_words(sorted({label for item in kept for label in item.labels}), label_texts)
    chosen = stratified([item.label for item in kept], per_label=per_label, total=total, seed=seed)
    if len(chosen) < len(kept):
        converted.drop("not drawn as a query", count=len(kept) - len(chosen))
    draw = random.Random(f"{seed}:labels of others")
    query_prompt, document_prompt = prompts or Prompts()
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
                query_prompt=query_prompt,
                document_prompt=document_prompt,
                task=task,
                label=item.label,
                labels=item.labels if len(item.labels) > 1 else (),
                negative_labels=tuple((label,) for label in others),
            )
        )
    return converted
