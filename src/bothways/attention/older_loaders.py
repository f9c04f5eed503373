"""Makes transformers 4 refuse a bidirectional folder, which it would silently read causally.

transformers draws a bidirectional mask for `is_causal: false` since 5.2. Version 4 reads a key that
later versions dropped, `pruned_heads`, and converts its names to numbers. If a name is a sentence,
this ends in an error that shows the sentence:

    ValueError: invalid literal for int() with base 10:
        'this encoder needs transformers 5.2 or newer, …'

transformers 5.0 and 5.1 do not have such a key, so the model card says it in its first lines.
Measured on 4.44.2, 4.57.6, 5.0.0, 5.1.0, 5.2.0 and 5.23.0. vLLM, text-embeddings-inference and
llama.cpp's converter do not read the key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig

OLDEST = "5.2"
"""The first release of transformers that reads `is_causal` from a config."""

GUARD = "pruned_heads"
_SENTENCE = f"this encoder needs transformers {OLDEST} or newer, older ones read it causally"


def guarded(values: dict[str, Any]) -> dict[str, Any]:
    """Add the key that stops transformers 4 to the values of config.json."""
    return {**values, GUARD: {_SENTENCE: []}}


def unguard(config: PretrainedConfig) -> None:
    """Remove the key from a config object, in place.

    If the folder really pruned heads, the key has other values and stays.
    """
    if _SENTENCE in (getattr(config, GUARD, None) or {}):
        delattr(config, GUARD)
