"""Versions of the libraries that numbers depend on, for saved encoders and results."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = (
    *("torch", "transformers", "tokenizers", "peft", "accelerate", "sentence-transformers"),
    *("numpy", "scipy", "scikit-learn", "bm25s", "faiss-cpu", "mteb"),
)


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
    """Return the versions of bothways, Python and each of `LIBRARIES` that is installed."""
    from bothways import __version__

    return {
        "bothways": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        **dict(_installed()),
    }
