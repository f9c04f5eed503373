"""Published methods as recipes: choices only, with their sources. `bothways.train` runs them.

For example `bothways.recipes.llm2vec(base="smollm2-135m", texts="python-stdlib", preset="laptop")`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import NamedTuple

from bothways.errors import InputError
from bothways.recipes.llm2vec import llm2vec
from bothways.recipes.simcse import simcse
from bothways.training.run import Recipe

__all__ = ["NAMES", "Entry", "get", "llm2vec", "simcse"]


class Entry(NamedTuple):
    """A recipe by name: one line for lists, and the function that makes it (base, texts, preset, …)."""

    name: str
    description: str
    build: Callable[..., Recipe]


_ENTRIES = (
    Entry(
        "llm2vec", "decoder LLM to text encoder without labels: bidirectional, MNTP, then SimCSE (arXiv 2404.05961)", llm2vec
    ),
    Entry(
        "simcse", "contrastive learning from dropout alone, on BERT-like encoders and on decoders (arXiv 2104.08821)", simcse
    ),
)
NAMES = tuple(entry.name for entry in _ENTRIES)


def get(name: str) -> Entry:
    """The recipe of this name.

    Raises:
        InputError: there is none; names the nearest.
    """
    for entry in _ENTRIES:
        if entry.name == name:
            return entry
    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(NAMES)}"
    raise InputError(f"recipe {name!r} does not exist; {hint}")
