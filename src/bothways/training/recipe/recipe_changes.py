"""Compares recipes: which of their values change a result, and which of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FREE_KEYS = frozenset({"name", "keep", "keep_checkpoints", "trackers", "log_every", "save_every"})
"""Keys that change logs and files, but no result.

A resumed run may have other values."""
OPTIONAL_KEYS = frozenset(
    {
        "refresh",
        "mine",
        "add_eos",
        "wrapper",
        "default_prompt",
        "rope",
        "train_whole",
        "unit",
        "new_tokens",
        "shifted",
        "part",
        "example_prompt",
        "leave_out_labeled",
        "fill",
        "stream",
    }
    | {"joint", "plain", "add_bos", "pool_prompt", "rows", "share", "keep_mlp"}
    | {
        "directions",
        "quantize",
        "partition",
        "guide",
        "guide_margin",
        "teacher",
        "teacher_temperature",
        "similarity",
        "average",
        "patience",
        "also",
        "start",
    }
    | {
        "min_lr_ratio",
        "decay_ratio",
        "decay_shape",
        "pooling_lr",
        "embedding_lr",
        "layer_decay",
        "init_lora_weights",
    }
)
"""Keys that mean nothing if they are null.

A recipe that was written before a key existed is the same recipe."""


def binding(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a resolved recipe to the values that a result depends on, by dotted path.

    For example, {"stages.mntp.optim.lr": 5e-05}.
    """
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: object) -> None:
        if value is None and prefix.split(".")[-1] in OPTIONAL_KEYS:
            return
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), inner)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, inner in enumerate(value):
                walk(f"{prefix}.{inner.get('name', number)}", inner)
        elif prefix.split(".")[-1] not in FREE_KEYS or (
            prefix.count(".") == 2 and prefix.endswith(".name")
        ):
            flat[prefix] = value

    walk("", resolved)
    return flat


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the differences between two resolved recipes that change results.

    Each entry is a dotted path with the old and the new value, for example "seed (3 → 9)".
    """
    missing = object()
    old, new = binding(before), binding(now)
    lines = []
    for key in sorted(old.keys() | new.keys()):
        was, is_now = old.get(key, missing), new.get(key, missing)
        if was != is_now:
            lines.append(
                f"{key} ({'absent' if was is missing else was} → {'absent' if is_now is missing else is_now})"
            )
    return lines
