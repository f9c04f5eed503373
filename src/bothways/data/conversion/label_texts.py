"""Which labeled texts can be used for training, and the words of their labels.

Classification and clustering share this. `bothways.data.labeled.labeled_text` reads the texts.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bothways.data.conversion.converted import Converted
from bothways.data.decontamination import Overlap
from bothways.data.labeled.labeled_text import LabeledText
from bothways.data.words import normal_form
from bothways.errors import InputError
from bothways.foreign import why


def usable(
    items: Sequence[LabeledText], converted: Converted, *, seed: int, without: Overlap | None
) -> list[LabeledText]:
    """Return the texts that can be learned from, each once, with one label that counts.

    If a text has several labels, one is drawn. Texts are compared by normal form. Left out and
    counted are empty texts, texts of evaluation data, repetitions, and texts that occur with labels
    that have nothing in common, because they would be a positive and a negative of the same class.

    Args:
        items: texts with labels.
        converted: counts the rows that are left out.
        seed: the seed of the draw.
        without: evaluation texts. If None, nothing is left out for that.

    Raises:
        InputError: the usable texts have fewer than two labels.
    """
    converted.rows += len(items)
    draw = random.Random(f"{seed}:labels")
    # drawn for all items, so that removing one does not change the label of another
    drawn = [draw.choice(item.labels) for item in items]
    labels: dict[str, set[str]] = {}
    clash: set[str] = set()
    for item in items:
        key = normal_form(item.text)
        before = labels.setdefault(key, set(item.labels))
        if before.isdisjoint(item.labels):
            clash.add(key)
        before |= set(item.labels)
    kept: list[LabeledText] = []
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
            kept.append(replace(item, chosen=own))
    if len({item.label for item in kept}) < 2:
        raise InputError(
            f"{len(kept)} usable texts of {len({item.label for item in kept})} label; expected two labels at least"
        )
    return kept


def read_label_texts(path: str | Path) -> dict[str, str]:
    """Read a JSON object label -> text, for labels that do not speak for themselves.

    For example, the file may hold {"18": "sports", "19": "travel"}.

    Raises:
        InputError: the file is not such an object.
    """
    try:
        found: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not valid JSON ({why(error)}); expected an object label: text"
        ) from None
    if not isinstance(found, dict) or not all(
        isinstance(value, str) and value.strip() for value in found.values()
    ):
        raise InputError(
            f"{path}: expected a JSON object label: text, with a text that is not empty for each"
        )
    return found


def in_words(labels: Iterable[str], texts: Mapping[str, str] | None) -> dict[str, str]:
    """Return each label as words: its given text, or its name with spaces for underscores.

    For example, in_words(["lost_card"], None) is {"lost_card": "lost card"}.

    Raises:
        InputError: a label lacks a text although texts are given, is a bare number, or has the same
            words as another label.
    """
    words: dict[str, str] = {}
    for label in labels:
        if texts is not None and label not in texts:
            raise InputError(f"label {label!r}: has no text; give every label one")
        words[label] = (
            texts[label] if texts is not None else " ".join(label.replace("_", " ").split())
        )
        if texts is None and _is_number(label):
            raise InputError(
                f"label {label!r}: a number says nothing; give the labels' texts, or convert by example"
            )
    twice = {text for text in words.values() if list(words.values()).count(text) > 1}
    if twice:
        raise InputError(f"labels: several of them read {min(twice)!r}; give each its own text")
    return words


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False
