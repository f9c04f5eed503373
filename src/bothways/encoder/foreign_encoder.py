"""Encoders that only sentence-transformers can run, because ours has no equivalent of a module.

They are opened for comparison and as teachers. Static embeddings and decoderless models such as
MiniLM are examples.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bothways.folder_files import MODULES, OURS

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def is_foreign(name: str | os.PathLike[str]) -> bool:
    """Return whether this is a sentence-transformers folder that bothways did not write."""
    from bothways.backbone.loading.model_source import locate

    source = locate(name)
    return source.holds(MODULES) and not source.holds(OURS)


def has_code(folder: Path) -> bool:
    """Return whether a local folder names module types outside sentence-transformers.

    Releases of sentence-transformers before 5.2 run the code of such types in a local folder
    without asking for trust_remote_code. They never run code from the hub without it.
    """
    if not folder.is_dir():
        return False
    from bothways.encoder.folder.head_modules import STOCK
    from bothways.foreign import read_json

    found: list[Any] = []
    for file in [folder / MODULES, *sorted(folder.glob("**/router_config.json"))]:
        held = read_json(file)
        listed = (
            held
            if isinstance(held, list)
            else list((held.get("types") or {}).values())
            if isinstance(held, dict)
            else [None]
        )
        found += [module.get("type") if isinstance(module, dict) else module for module in listed]
    return not all(isinstance(kind, str) and kind.startswith(STOCK) for kind in found)


def open_sentence_transformer(
    name: str | os.PathLike[str], *, device: str, dtype: str
) -> SentenceTransformer:
    """Open a folder or hub id with sentence-transformers, which never runs the author's code."""
    from sentence_transformers import SentenceTransformer

    from bothways.backbone.hardware import resolve_device, resolve_dtype
    from bothways.backbone.loading.model_source import locate

    place, source = resolve_device(device), locate(name)
    model = SentenceTransformer(
        source.path,
        device=str(place),
        model_kwargs={"dtype": resolve_dtype(dtype, place)},
    )
    # results read the name of a SentenceTransformer from here
    model.model_card_data.base_model = model.model_card_data.base_model or source.name
    return model
