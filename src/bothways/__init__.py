"""Turns any decoder-only LLM into a text encoder, proves it, and saves it in a standard format.

The public names below are imported on first use, so `import bothways` costs nothing.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "convert": "bothways.encoder.convert",
    "bulk_encode": "bothways.bulk.encode",
    "read_shards": "bothways.bulk.reader",
    "load": "bothways.exports.graphs.exported",
    "Encoder": "bothways.encoder.encoder",
    "doctor": "bothways.encoder.proof.doctor",
    "AttentionPlan": "bothways.attention.plan",
    "train": "bothways.training.loop.trainer",
    "Recipe": "bothways.training.recipe.recipe",
    "evaluate": "bothways.evaluation.evaluate",
    "ablate": "bothways.ablation.ablate",
    "export": "bothways.exports.export",
    "load_export": "bothways.exports.graphs.exported",
    "verify_export": "bothways.exports.verify",
    "merge": "bothways.merging.merge",
    "push": "bothways.publishing.push",
    "index": "bothways.indexing.build",
    "open_index": "bothways.indexing.searching",
    "BothwaysError": "bothways.errors",
    "InputError": "bothways.errors",
}

__all__ = [
    "AttentionPlan",
    "BothwaysError",
    "Encoder",
    "InputError",
    "Recipe",
    "ablate",
    "bulk_encode",
    "convert",
    "doctor",
    "evaluate",
    "export",
    "index",
    "load",
    "load_export",
    "merge",
    "open_index",
    "push",
    "read_shards",
    "recipes",
    "train",
    "verify_export",
]

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from bothways import recipes
    from bothways.ablation.ablate import ablate
    from bothways.attention.plan import AttentionPlan
    from bothways.bulk.encode import bulk_encode
    from bothways.bulk.reader import read_shards
    from bothways.encoder.convert import convert
    from bothways.encoder.encoder import Encoder
    from bothways.encoder.proof.doctor import doctor
    from bothways.errors import BothwaysError, InputError
    from bothways.evaluation.evaluate import evaluate
    from bothways.exports.export import export
    from bothways.exports.graphs.exported import load, load_export
    from bothways.exports.verify import verify_export
    from bothways.indexing.build import index
    from bothways.indexing.searching import open_index
    from bothways.merging.merge import merge
    from bothways.publishing.push import push
    from bothways.training.loop.trainer import train
    from bothways.training.recipe.recipe import Recipe


class _Moved:
    """A finder for old module names. It loads `bothways.moved` with the first submodule."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith("bothways.") or name == "bothways.moved":
            return None
        from bothways import moved

        return moved.FINDER.find_spec(name, path, target)


sys.meta_path.insert(0, _Moved)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    if name == "recipes":
        return importlib.import_module("bothways.recipes")
    raise AttributeError(f"module 'bothways' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
