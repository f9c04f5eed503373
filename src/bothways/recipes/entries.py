"""Recipes by name: what a list of them says, and how one is found and made.

`TEXT_ENCODERS` are the recipes that end in an encoder of texts. Any of them can follow longlora,
which therefore finds them here and not in the list of all recipes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from bothways.errors import InputError
from bothways.moved import old_names
from bothways.nearest import meant
from bothways.recipes.llara import llara
from bothways.recipes.llm2vec import llm2vec
from bothways.recipes.nv_embed import nv_embed
from bothways.recipes.simcse import simcse
from bothways.training.recipe.recipe import Recipe


class RecipeEntry(NamedTuple):
    """A recipe by name.

    Attributes:
        name: the name, as on the command line.
        description: one line for lists.
        build: the function that makes the recipe (base, texts, preset, …).
    """

    name: str
    description: str
    build: Callable[..., Recipe]

    @property
    def options(self) -> tuple[str, ...]:
        """The options of this recipe alone, for example "supervised".

        Options that all recipes have (`dev`) are not included.
        """
        parameters = inspect.signature(self.build).parameters.values()
        return tuple(
            each.name
            for each in parameters
            if each.kind is each.KEYWORD_ONLY and each.name != "dev"
        )

    def make(self, options: Mapping[str, Any], **common: object) -> Recipe:
        """Make the recipe with its own options, as a command line gives them.

        For example get("llm2vec").make({"simcse": True}, base="smollm2-135m", preset="laptop").

        Args:
            options: options of this recipe alone, by name.
            **common: arguments that every recipe has (base, texts, …).

        Raises:
            InputError: if this recipe does not have an option, or if a value does not suit it.
        """
        for name in options:
            if name not in self.options:
                hint = meant(name, self.options) + f"there are {', '.join(self.options)}"
                raise InputError(f"recipe {self.name}: no option {name!r}; {hint}")
        switches = [
            name
            for name, value in options.items()
            if isinstance(value, bool) != self._is_switch(name)
        ]
        if switches:
            name = switches[0]
            kind = "true or false" if self._is_switch(name) else "a name, file or list"
            raise InputError(f"recipe {self.name}: {name} is {kind}, not {options[name]!r}")
        return self.build(**common, **options)

    def _is_switch(self, name: str) -> bool:
        return str(inspect.signature(self.build).parameters[name].annotation).startswith("bool")


TEXT_ENCODERS = (
    RecipeEntry(
        "llm2vec",
        "decoder LLM to text encoder: bidirectional, MNTP, then SimCSE without labels, or supervised (arXiv 2404.05961)",
        llm2vec,
    ),
    RecipeEntry(
        "simcse",
        "contrastive learning from dropout alone, or from NLI, on BERT-like encoders and on decoders (arXiv 2104.08821)",
        simcse,
    ),
    RecipeEntry(
        "nv_embed",
        "latent-attention pooling, instructions, retrieval and then all tasks, from labeled rows (arXiv 2405.17428)",
        nv_embed,
    ),
    RecipeEntry(
        "llara",
        "decoder LLM adapted by summarizing and predicting plain text, then fine-tuned for retrieval (arXiv 2312.15503)",
        llara,
    ),
)


def find(name: str, entries: Sequence[RecipeEntry]) -> RecipeEntry:
    """Find the entry of a name, for example "llm2vec".

    Raises:
        InputError: if there is none. The message names the most similar one.
    """
    for entry in entries:
        if entry.name == name:
            return entry
    names = [entry.name for entry in entries]
    raise InputError(
        f"recipe {name!r} does not exist; {meant(name, names)}there are {', '.join(names)}"
    )


__getattr__ = old_names(__name__)
