"""Poolings that sentence-transformers has: their names in folders, and config.json of its Pooling.

    1_Pooling/config.json    booleans (the legacy form, which every loader reads) and `pooling_mode`

Several modes are concatenated, for example "bos+mean" for `["cls", "mean"]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from bothways.encoder.folder.published_settings import refuse_unknown
from bothways.errors import InputError
from bothways.foreign import read_object
from bothways.pooling.pool import JOINED, parts_of

# our mode → (legacy boolean, sentence-transformers' mode, vLLM's `config.pooling`), in the order in
# which sentence-transformers concatenates the modes whose booleans are true
POOLINGS = {
    "bos": ("pooling_mode_cls_token", "cls", "cls"),
    "max": ("pooling_mode_max_tokens", "max", None),
    "mean": ("pooling_mode_mean_tokens", "mean", "avg"),
    "mean_sqrt_len": ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", None),
    "weighted_mean": ("pooling_mode_weightedmean_tokens", "weightedmean", None),
    "last": ("pooling_mode_lasttoken", "lasttoken", "last"),
}
# sentence-transformers' names of poolings, legacy and new → ours
_MODES = {legacy: mode for mode, (legacy, _, _) in POOLINGS.items()} | {
    new: mode for mode, (_, new, _) in POOLINGS.items()
}
_KEYS = frozenset(
    {
        *("embedding_dimension", "word_embedding_dimension", "pooling_mode", "include_prompt"),
        *(legacy for legacy, _, _ in POOLINGS.values()),
    }
)


class StockPooling(NamedTuple):
    """The mode of a stock pooling, None if there is no such module, and if prompts are pooled."""

    mode: str | None
    include_prompt: bool


def is_stock(mode: str) -> bool:
    """Return whether sentence-transformers has a pooling, or all poolings that are concatenated."""
    return set(mode.split(JOINED)) <= set(POOLINGS)


def read(file: Path) -> StockPooling:
    """Read config.json of a Pooling.

    Raises:
        InputError: a setting or a mode is unknown, or the file is damaged.
    """
    config = read_object(file)
    refuse_unknown(config, _KEYS, file)
    named = config.get("pooling_mode")
    if not isinstance(named, str | list | None):
        raise InputError(
            f"{file}: pooling_mode must be a name or a list of names, and is {named!r:.60}"
        )
    if named is None:  # in the order of sentence-transformers, whatever the order of the file
        named = [legacy for legacy, _, _ in POOLINGS.values() if config.get(legacy)] or ["mean"]
    active = [named] if isinstance(named, str) else named
    wrong = [each for each in active if not isinstance(each, str) or each not in _MODES]
    if wrong or not active:
        raise InputError(
            f"{file}: pooling {', '.join(map(str, wrong)) or '[]'} cannot be read; known: {', '.join(_MODES)}"
        )
    mode = JOINED.join(_MODES[each] for each in active)
    return StockPooling(mode, bool(config.get("include_prompt", True)))


def stored(mode: str, *, width: int, include_prompt: bool) -> dict[str, Any]:
    """Return config.json of a Pooling.

    Args:
        mode: for example "mean" or "bos+mean".
        width: width of the states.
        include_prompt: whether prompts are pooled too.
    """
    parts = parts_of(mode)
    active = {POOLINGS[part][0] for part in parts}
    named = [POOLINGS[part][1] for part in parts]
    return {
        "word_embedding_dimension": width,
        **{legacy: legacy in active for legacy, _, _ in POOLINGS.values()},
        "pooling_mode": named[0] if len(named) == 1 else named,
        "include_prompt": include_prompt,
    }


def notes(mode: str) -> list[str]:
    """List what other loaders cannot do with a pooling, one sentence each."""
    parts = mode.split(JOINED)
    if len(parts) == 1:
        return []
    note = (
        f"{len(parts)} poolings are concatenated: loaders that take one pooling (vLLM, TEI, llama.cpp) cannot "
        "use this folder"
    )
    if parts != [part for part in POOLINGS if part in parts]:
        note += ", and sentence-transformers before 5.5 concatenates them in another order"
    return [note]
