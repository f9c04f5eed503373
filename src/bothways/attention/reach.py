"""Which keys a block of queries can reach: how a long text is run piece by piece where a mask or scores must be written out.

A mask over a whole text grows with the square of its length: at 100,000 tokens it would be 10 GB of bits alone. Under a sliding window,
or causally, a block of neighbouring queries sees a part of the text only, so cutting the queries bounds the memory and saves work. The
more keys and heads, the fewer queries: what a block writes out stays within `ELEMENTS`.

Letters: L tokens of a segment, Q queries of a block, R keys that one of them sees.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from bothways.config import Direction

QUERIES = 1024
"""Queries of a block at most; texts up to this length are run in one."""
FEWEST = 16
"""Queries of a block at least: reading the keys takes the time of a smaller product."""
ELEMENTS = 2**25
"""Scores, or elements of a mask, of a block of a longer text: 134 MB in float32. Inference holds them twice, training some four times."""


class Block(NamedTuple):
    """Queries [start, end) of a segment, and the keys [first, last) that at least one of them sees."""

    start: int
    end: int
    first: int
    last: int

    @property
    def short(self) -> bool:
        """Whether this may be all of a short text, whose mask comes back in every layer; of a long text it is the first block only."""
        return self.start == 0 and self.last <= QUERIES


def query_blocks(length: int, direction: Direction, window: int | None, scores: int = 1) -> list[Block]:
    """Cut a segment of L tokens into blocks; windows as `AttentionPlan` counts them.

    Args:
        length: L.
        direction: of the plan.
        window: of the layer, None for none.
        scores: what is written out for a query and a key: 1 for a mask, heads × segments for scores.
    """
    causal = direction == "causal"
    size = QUERIES
    if length > QUERIES:
        keys = length if window is None else min(length, QUERIES + (window if causal else 2 * window))
        size = min(QUERIES, max(FEWEST, ELEMENTS // (keys * scores)))
    blocks = []
    for start in range(0, length, size):
        end = min(start + size, length)
        first = 0 if window is None else max(0, start - window + causal)
        last = end if causal else length if window is None else min(length, end + window)
        blocks.append(Block(start, end, first, last))
    return blocks


def seen(block: Block, direction: Direction, window: int | None, device: torch.device) -> Tensor:
    """Mask (Q, R) bool of a block: true where its query sees the key. Kept for blocks of short texts, which come back in every layer."""
    make = _seen if block.short else _seen.__wrapped__
    # by distance alone, so that texts of one length share it
    return make(block.end - block.start, block.last - block.first, block.first - block.start, direction, window, device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _seen(queries: int, keys: int, offset: int, direction: Direction, window: int | None, device: torch.device) -> Tensor:
    ahead = torch.arange(offset, offset + keys, device=device) - torch.arange(queries, device=device)[:, None]
    if direction == "causal":
        return ahead <= 0 if window is None else (ahead <= 0) & (ahead > -window)
    return torch.ones_like(ahead, dtype=torch.bool) if window is None else ahead.abs() <= window
