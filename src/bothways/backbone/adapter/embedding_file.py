"""Reads the embedding that FlagEmbedding saves next to an adapter.

    embedding/emb.pth          for AutoModel
    embedding/input_emb.pth    for a causal LM

FlagEmbedding adds special tokens before training and enlarges the embedding for them. It pickles
the whole layer next to the adapter, and its own inference puts it back (`load_model.py` of
FlagEmbedding/finetune/embedder/decoder_only). peft knows nothing of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from bothways.errors import InputError
from bothways.foreign import foreign

FILES = ("embedding/emb.pth", "embedding/input_emb.pth")


def put_embedding(model: Any, folder: Path) -> None:
    """Replace the embedding of `model` by the one next to an adapter, if there is one.

    Args:
        model: a bare decoder. It is changed in place.
        folder: folder of the adapter.

    Raises:
        InputError: if the file is damaged, holds something else, or is an embedding of another
            width.
    """
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        return
    with foreign(file), torch.serialization.safe_globals([nn.Embedding, set]):
        held: Any = torch.load(file, map_location="cpu", weights_only=True)
    weight = held.weight if isinstance(held, nn.Embedding) else held
    if isinstance(weight, dict):
        weight = weight.get("weight")
    own = model.get_input_embeddings().weight
    if not isinstance(weight, torch.Tensor) or weight.shape[1:] != own.shape[1:]:
        shape = tuple(weight.shape) if isinstance(weight, torch.Tensor) else type(weight).__name__
        raise InputError(
            f"{file}: holds {shape}, which is not an embedding of {own.shape[1]} numbers a token; give the base model that the "
            "adapter was trained over"
        )
    if len(weight) != len(own):
        model.resize_token_embeddings(len(weight), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(weight)
