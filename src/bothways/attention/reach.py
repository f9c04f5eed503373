"""Which keys a block of queries can reach: how a long text is run piece by piece where a mask or scores must be written out.

A mask over a whole text grows with the square of its length: at 100,000 tokens it would be 10 GB of bits alone. Under a sliding window,
or causally, a block of neighbouring queries sees a part of the text only, so cutting the queries bounds the memory and saves work.

Letters: L tokens of a segment, Q queries of a block, R keys that one of them sees.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from bothways.config import Direction

QUERIES = 1024
"""Queries of a block; texts up to this length are run in one."""


class Block(NamedTuple):
    """Queries [start, end) of a segment, and the keys [first, last) that at least one of them sees."""

    start: int
    end: int
    first: int
    last: int


def query_blocks(length: int, direction: Direction, window: int | None) -> list[Block]:
    """Cut a segment of L tokens into blocks of `QUERIES`; windows as `AttentionPlan` counts them."""
    blocks = []
    for start in range(0, length, QUERIES):
        end = min(start + QUERIES, length)
        causal = direction == "causal"
        first = 0 if window is None else max(0, start - window + causal)
        last = end if causal else length if window is None else min(length, end + window)
        blocks.append(Block(start, end, first, last))
    return blocks


def seen(block: Block, direction: Direction, window: int | None, device: torch.device) -> Tensor:
    """Mask (Q, R) bool of a block: true where its query sees the key. Kept for blocks of short texts, which come back in every layer."""
    make = _seen if block.last <= QUERIES else _seen.__wrapped__
    # by distance alone, so that texts of one length share it
    return make(block.end - block.start, block.last - block.first, block.first - block.start, direction, window, device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _seen(queries: int, keys: int, offset: int, direction: Direction, window: int | None, device: torch.device) -> Tensor:
    ahead = torch.arange(offset, offset + keys, device=device) - torch.arange(queries, device=device)[:, None]
    if direction == "causal":
        return ahead <= 0 if window is None else (ahead <= 0) & (ahead > -window)
    return torch.ones_like(ahead, dtype=torch.bool) if window is None else ahead.abs() <= window
