"""The form of a recipe that every server computes: `servable=True`.

Servers pool every token of a text. They do not know a stored prompt or a wrapper, and some loaders
remove white space around a text. So in this form nothing depends on them: BOS is written by the
tokenizer itself and pooled, a prompt is pooled, and there is no default prompt and no wrapper.

| | laptop preset today | servable |
|---|---|---|
| before each text | a line feed, as a prompt that is not pooled | BOS, pooled |
| instructions | seen, not pooled | seen and pooled |
| around a text of a chat base | its wrapper | nothing |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bothways.recipes.recipe_parts import Preset

SERVABLE: Mapping[Preset, bool] = {"published": False, "laptop": False}
"""The form of each preset, if the option `servable` is not given. docs/recipes.md says
which costs are measured."""

FORM: dict[str, Any] = {
    "add_bos": True,
    "pool_bos": True,
    "pool_prompt": True,
    "wrapper": None,
    "joint": None,
    "default_prompt": None,
}
"""The values of a recipe in this form."""


def is_servable(servable: bool | None, preset: Preset) -> bool:
    """Return whether a recipe takes the servable form.

    Args:
        servable: the option of the recipe. If None, the preset's own form.
        preset: the preset, which has been checked.
    """
    return SERVABLE[preset] if servable is None else servable
