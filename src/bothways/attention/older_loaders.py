"""What makes transformers 4 refuse a bidirectional folder, where it would read it causally and say nothing.

transformers draws a bidirectional mask for `is_causal: false` since 5.2. Version 4 reads a key that later ones dropped,
`pruned_heads`, and turns its names into numbers. A name that is a sentence ends in an error which shows that sentence:

    ValueError: invalid literal for int() with base 10: 'this encoder needs transformers 5.2 or newer, …'

transformers 5.0 and 5.1 have no such key, so the model card says it in its first lines. Measured on 4.44.2, 4.57.6, 5.0.0,
5.1.0, 5.2.0 and 5.23.0. vLLM, text-embeddings-inference and llama.cpp's converter do not read the key.
"""

from __future__ import annotations

from typing import Any

OLDEST = "5.2"
"""The first release of transformers that reads `is_causal` from a config."""

GUARD = "pruned_heads"
_SENTENCE = f"this encoder needs transformers {OLDEST} or newer, older ones read it causally"


def guarded(values: dict[str, Any]) -> dict[str, Any]:
    """Give config.json's values with the key that transformers 4 stops at."""
    return {**values, GUARD: {_SENTENCE: []}}


def unguard(config: Any) -> None:
    """Take the key off a config object, in place. Its own values, of a folder that really pruned heads, stay."""
    if _SENTENCE in (getattr(config, GUARD, None) or {}):
        delattr(config, GUARD)
