"""Reads a sentence-transformers folder that holds a PEFT adapter in place of weights.

`model.add_adapter` and `save` write such folders:

    modules.json, 1_Pooling/, tokenizer.*              as in any such folder
    adapter_config.json, adapter_model.safetensors     next to them, or in the folder of the
                                                       transformer module, without a config.json

sentence-transformers takes config and weights from the base that the adapter names, and the
tokenizer from the folder. This code does the same, but merges the adapter. It merges into float32
weights, and then rounds them to the requested type.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from bothways.backbone.adapter.adapter_files import MERGED, merged_in
from bothways.backbone.adapter.merging import adapter_rope, merge_saved
from bothways.backbone.adapter.named_base import named_base
from bothways.backbone.loading.checkpoint_loading import read_tokenizer
from bothways.backbone.loading.model_source import TOKENIZER_FILES, resolve
from bothways.backbone.loading.sources import Pretrained, load_pretrained
from bothways.backbone.rope import rope_overrides
from bothways.backbone.tokenizer.preparation import prepare_tokenizer
from bothways.errors import InputError, SourceError
from bothways.folder_files import ADAPTER, OURS


def is_adapter(root: Path) -> bool:
    """Return whether the folder of a transformer module holds an adapter instead of weights."""
    # a merged encoder of ours may keep its adapter in the same folder
    ours = (root / OURS).is_file() and (root / "config.json").is_file()
    return (root / ADAPTER).is_file() and not ours


def load(
    root: Path, base: str | os.PathLike[str] | None, *, dtype: torch.dtype, device: torch.device
) -> tuple[Pretrained, dict[str, Any]]:
    """Load the base, merge the adapter of `root`, and read the tokenizer of `root`.

    Returns the loaded model and the provenance of base and adapter.

    Args:
        root: folder with the adapter.
        base: the base model. If None, the one that the adapter names.
        dtype: type of the weights.
        device: device of the weights.

    Raises:
        InputError: no base is named, or the adapter does not fit it.
        SourceError: the base cannot be found or reached.
    """
    rope = adapter_rope(root)
    try:
        source = named_base(root) if base is None else resolve(base)
        if source is None:
            raise InputError(f"{root / ADAPTER}: names no base model; give it as base=")
        overrides = None if rope is None else rope_overrides(source, rope)
        loaded = load_pretrained(
            source, dtype=torch.float32, device=device, config_overrides=overrides
        )
    except SourceError as error:
        if base is not None:
            raise
        raise SourceError(
            f"{root / ADAPTER}: the base model that it names cannot be loaded; give it as base= ({error})"
        ) from error
    held = merge_saved(loaded.model, root, merged_in(source))
    loaded.model.to(dtype)
    if any((root / file).is_file() for file in TOKENIZER_FILES):
        loaded.tokenizer = prepare_tokenizer(
            read_tokenizer(str(root), str(root)), loaded.model.config
        )
    return loaded, {"base": str(source), "base_adapter": str(root), MERGED: held}
