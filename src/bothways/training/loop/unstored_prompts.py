"""Tells which prompts an encoder was trained with that it does not store.

Rows may bring prompts of their own (`query_prompt` in a file, tasks of a recipe). Like
sentence-transformers, bothways stores only the prompts that the recipe names, because rows do not
say which of theirs is to be used at test. So the user must pass the others to `encode`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from bothways.data.labeled.example import Example

log = logging.getLogger("bothways")
_SHOWN = 3


def unstored_prompts(rows: Sequence[Any], stored: Mapping[str, str]) -> list[str]:
    """List the prompts of rows that an encoder does not store, the most frequent one first.

    Args:
        rows: training rows. Only labeled rows have prompts.
        stored: prompts of the encoder, by name.
    """
    counts: dict[str, int] = {}
    for row in rows:
        if isinstance(row, Example):
            for prompt in {row.query_prompt, row.document_prompt}:
                counts[prompt] = counts.get(prompt, 0) + 1
    known = {"", *stored.values()}
    return sorted(
        (prompt for prompt in counts if prompt not in known),
        key=lambda prompt: (-counts[prompt], prompt),
    )


def say_unstored(rows: Sequence[Any], stored: Mapping[str, str], stage: str) -> None:
    """Warn about prompts of rows that the saved encoder does not store, and name what to pass."""
    missing = unstored_prompts(rows, stored)
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        log.warning(
            "stage %s: the rows have %d prompts that the encoder does not store: %s%s; pass the right one when you encode, as "
            "encode(texts, prompt=%r), or store it under a name: prompts: {query: %r} in the recipe",
            *(
                stage,
                len(missing),
                ", ".join(map(repr, missing[:_SHOWN])),
                more,
                missing[0],
                missing[0],
            ),
        )
