"""Checks that a model has an embedding for every token of its tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bothways.errors import InputError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase


def embedding_rows(backbone: nn.Module) -> int | None:
    """Return the number of rows of a model's embedding, or None if the model does not tell.

    Token ids are below this number.
    """
    find = getattr(backbone, "get_input_embeddings", None)
    weight = getattr(find(), "weight", None) if find is not None else None
    if weight is not None:
        return len(weight)
    config = getattr(backbone, "config", None)
    return None if config is None else getattr(config.get_text_config(), "vocab_size", None)


def check_embedded(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], rows: int | None, where: str
) -> None:
    """Raise InputError if the model has no embedding for a token.

    Such a token was added to the tokenizer but not to the model.

    Args:
        tokenizer: gives the token's name.
        ids: ids of a text.
        rows: rows of the model's embedding. If None, nothing is checked.
        where: beginning of the message.
    """
    if rows is not None and ids and max(ids) >= rows:
        beyond = max(ids)
        raise InputError(
            f"{where}: the token {tokenizer.convert_ids_to_tokens(beyond)!r} has number {beyond}, but the model embeds {rows} "
            f"(0 to {rows - 1}); give the tokenizer that belongs to the model, or the model with its embedding resized"
        )
