"""GGUF files for llama.cpp, Ollama and everything built on them."""

from __future__ import annotations

import importlib
import warnings

_MOVED = ("write_gguf", "check", "POOLINGS", "TYPES")


def __getattr__(name: str) -> object:
    """Return a name that this package had as a single module.

    Raises:
        AttributeError: if there is no such name.
    """
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = f"{__name__}.gguf_file"
    warnings.warn(f"{__name__}.{name} is {new}.{name} now", DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module(new), name)
