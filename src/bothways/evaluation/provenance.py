"""What a reader needs to trust a score or to get it again: which model, which libraries, which command."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

_LIBRARIES = ("bothways", "torch", "transformers", "sentence-transformers", "peft", "numpy", "scipy", "bm25s")


def versions() -> dict[str, str]:
    """Python and the libraries that touch a score; one that is not installed is left out."""
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def command_line() -> str:
    """The running command, quoted so that a shell would take it."""
    return shlex.join(sys.argv)


def describe(encoder: Any) -> dict[str, Any]:
    """Class, name, direction and precision of an encoder, as far as it tells them; what it does not tell is left out."""
    parameter = next(iter(encoder.parameters()), None) if callable(getattr(encoder, "parameters", None)) else None
    told = {
        "name": _name(encoder),
        "direction": getattr(encoder, "direction", None),
        "dtype": str(parameter.dtype).removeprefix("torch.") if parameter is not None else None,
        "device": str(parameter.device) if parameter is not None else None,
    }
    return {"class": type(encoder).__name__, **{key: value for key, value in told.items() if value is not None}}


def _name(encoder: Any) -> str | None:
    own = getattr(encoder, "provenance", None)
    if isinstance(own, Mapping):
        own = next((own[key] for key in ("folder", "name", "base") if own.get(key)), None)
    else:
        own = next((value for key in ("folder", "name", "base") if (value := getattr(own, key, None))), None)
    card = getattr(encoder, "model_card_data", None)  # where SentenceTransformer keeps what it was loaded from
    name = own or getattr(encoder, "name", None) or getattr(card, "base_model", None)
    return str(name) if name else None
