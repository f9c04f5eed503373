"""Published methods as recipes: choices only, with their sources. `bothways.train` runs them.

For example `bothways.recipes.llm2vec(base="smollm2-135m", texts="python-stdlib", preset="laptop")`.
"""

from __future__ import annotations

from bothways.moved import old_names
from bothways.recipes.compose import compose
from bothways.recipes.entries import TEXT_ENCODERS, RecipeEntry, find
from bothways.recipes.llara import llara
from bothways.recipes.llm2vec import llm2vec
from bothways.recipes.longlora import longlora
from bothways.recipes.nv_embed import nv_embed
from bothways.recipes.simcse import simcse

__all__ = [
    "NAMES",
    "RecipeEntry",
    "compose",
    "get",
    "llara",
    "llm2vec",
    "longlora",
    "nv_embed",
    "simcse",
]

_ENTRIES = (
    *TEXT_ENCODERS,
    RecipeEntry(
        "longlora",
        "decoder LLM to a longer context: interpolated positions, LoRA+ in shifted groups (arXiv 2309.12307)",
        longlora,
    ),
)
NAMES = tuple(entry.name for entry in _ENTRIES)


def get(name: str) -> RecipeEntry:
    """Find the recipe of a name, for example "llm2vec".

    Raises:
        InputError: if there is no such recipe. The message names the most similar one.
    """
    return find(name, _ENTRIES)


__getattr__ = old_names(__name__)
