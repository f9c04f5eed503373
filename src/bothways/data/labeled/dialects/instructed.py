"""Pairs of an instruction and a text in place of texts, as GritLM and INSTRUCTOR train with.

    GritLM       {"query": ["instruction", "text"], "pos": [["instruction", "text"], …],
                  "neg": [["instruction", "text"], …]}
    INSTRUCTOR   {"query": ["instruction", "text"], "pos": ["instruction", "text"],
                  "neg": ["instruction", "text"]}

GritLM's instructions may be empty, and most documents have an empty one (arXiv 2402.09906,
gritlm/training/data.py). INSTRUCTOR's MEDI has one positive and one negative a row (arXiv
2212.09741). An instruction goes through the template of the reading. If it ends in white space, it
is a prompt already. A row has one prompt for all its documents. If their instructions differ, each
becomes part of its text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from bothways.data.labeled.labeled_row import Fields
from bothways.data.labeled.templates import Prompts
from bothways.data.rows import type_name
from bothways.errors import InputError


class Instructed(NamedTuple):
    """The texts of a row and the prompts of its two sides."""

    query: str
    positives: list[str]
    negatives: list[str]
    prompts: Prompts


Pair = tuple[str, str]
"""An instruction and a text."""


def read_instructed(fields: Fields) -> Instructed | None:
    """Read the texts of a row if its query or a document is a pair of instruction and text.

    Returns:
        The texts, or None for a row of plain texts.

    Raises:
        InputError: a pair does not consist of two texts, or texts are mixed with pairs so that
            nothing says which texts are instructions.
    """
    query, sides = fields.unpacked("query"), [_listed(fields, name) for name in ("pos", "neg")]
    paired = isinstance(query, (list, tuple))
    if not paired and not any(isinstance(item, (list, tuple)) for side in sides for item in side):
        return None
    if paired and all(not side or _is_flat_pair(side) for side in sides) and sides[0]:
        sides = [[side] if side else [] for side in sides]  # INSTRUCTOR's
    elif paired and any(
        len(side) > 1 and any(isinstance(item, str) for item in side) for side in sides
    ):
        raise InputError(
            f"{fields.where}: the query is a pair of instruction and text, but pos or neg hold texts; "
            "write each as [instruction, text], with an empty instruction for none"
        )
    asked = _pair(fields, query, "query")
    documents = [
        [_pair(fields, item, f"{name}[{at}]") for at, item in enumerate(side)]
        for name, side in zip(("pos", "neg"), sides)
    ]
    written = {
        instruction: _prompt(fields, instruction)
        for side in [[asked], *documents]
        for instruction, _ in side
    }
    used = {written[instruction] for side in documents for instruction, text in side if text}
    if len(used) > 1:
        note = "instructions that differ within a row as part of their texts"
        fields.reading.notes[note] = None
        texts = [
            [f"{written[instruction]}{text}" if text else "" for instruction, text in side]
            for side in documents
        ]
    else:
        texts = [[text for _, text in side] for side in documents]
    document = next(iter(used)) if len(used) == 1 else ""
    return Instructed(asked[1], texts[0], texts[1], Prompts(written[asked[0]], document))


def _listed(fields: Fields, name: str) -> list[Any]:
    value = fields.unpacked(name)
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _is_flat_pair(side: list[Any]) -> bool:
    return len(side) == 2 and all(isinstance(item, str) for item in side)


def _pair(fields: Fields, value: Any, name: str) -> Pair:
    if isinstance(value, str):
        return "", fields.clean(value, name)
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        several = isinstance(value, (list, tuple))
        shown = f"{len(value)} values" if several else f"a {type_name(value)}"
        raise InputError(
            f"{fields.where}: {name} holds {shown}; expected a text, or [instruction, text]"
        )
    instruction = "" if value[0] is None else fields.clean(value[0], f"{name}[0]")
    return instruction, fields.clean(value[1], f"{name}[1]")


def _prompt(fields: Fields, instruction: str) -> str:
    if not instruction or instruction[-1].isspace():
        return instruction
    template = fields.reading.template
    fields.reading.notes[f"instructions as {template.query!r}"] = None
    return template.prompts(instruction, symmetric=False).query
