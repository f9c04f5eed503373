"""Sample texts for the checks, as rows and batches of tokens."""

from __future__ import annotations

from torch import Tensor

from bothways.attention.text_config import text_configs, windowed_layers
from bothways.encoder.batch import TokenBatch, TokenRow
from bothways.encoder.module import EncoderModule

TEXTS = (
    "The bridge across the river was closed for repairs, so the driver turned back and took the road through the hills.",
    "Return the number of items in the list.",
    "Yes.",
    "She had promised to call on Sunday evening; he waited until midnight, and then he went to bed.",
    "Water boils at a lower temperature in the mountains, because the pressure of the air is lower there.",
    "Open the file, read it line by line, and close it again.",
)
"""Real sentences of different lengths, so that any batch of them needs padding."""


def rows_of(encoder: EncoderModule, quick: bool = False) -> list[TokenRow]:
    """Tokenize the sample texts, or the first three of them."""
    return encoder.tokenize(list(TEXTS[:3] if quick else TEXTS))


def batch_of(encoder: EncoderModule, rows: list[TokenRow]) -> TokenBatch:
    """Pack rows into a batch on the encoder's device."""
    return encoder.pack(rows).to(encoder.device)


def cut_row(row: TokenRow, size: int) -> TokenRow:
    """Return the first `size` tokens of a row, of which at least one is pooled."""
    pool = row.pool[:size]
    return TokenRow(row.ids[:size], pool if any(pool) else [True] * len(pool), row.offsets[:size])


def farthest(encoder: EncoderModule, length: int) -> int:
    """Return the farthest token that the first of `length` tokens must see in every layer."""
    windows = windowed_layers(next(text_configs(encoder.backbone)))
    return min([length - 1, *windows.values()])


def changed(ids: Tensor, place: int) -> Tensor:
    """Return the same tokens with another one at `place`."""
    other = ids.clone()
    other[place] = ids[0] if ids[0] != ids[place] else (ids[0] - 1).abs()
    return other
