"""What made a file: library versions and the command, for results and saved encoders."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "accelerate", "sentence-transformers", "numpy")


@lru_cache(maxsize=1)
def _installed() -> tuple[tuple[str, str], ...]:
    found = []
    for name in LIBRARIES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def versions() -> dict[str, str]:
    """Version of bothways, Python and each library that numbers depend on."""
    from bothways import __version__

    return {"bothways": __version__, "python": ".".join(map(str, sys.version_info[:3])), **dict(_installed())}
