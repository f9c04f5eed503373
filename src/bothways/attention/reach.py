"""Cuts a long text into blocks of queries, and finds the keys that each block can reach.

This is for cases in which a mask or scores must be written out. A mask over a whole text grows with
the square of its length: at 100,000 tokens it would take 10 GB in bool. Under a sliding window, or
causally, a block of adjacent queries sees only a part of the text, so cutting the queries bounds
the memory and saves work. With more keys and heads a block has fewer queries, so that it never
writes out more than `ELEMENTS`.

Letters: L tokens of a segment, Q queries of a block, R keys that one of them sees.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from bothways.config import Direction
from bothways.moved import old_names

QUERIES = 1024
"""Maximum number of queries of a block. Texts up to this length are run in one."""
FEWEST = 16
"""Minimum number of queries of a block. Reading the keys takes as long as a smaller product."""
ELEMENTS = 2**25
"""Maximum number of scores, or elements of a mask, in a block of a longer text.

They take 134 MB in float32. Inference holds them twice, training about four times.
"""


class QueryBlock(NamedTuple):
    """Queries [start, end) of a segment, and the keys [first, last) that any of them sees."""

    start: int
    end: int
    first: int
    last: int

    @property
    def short(self) -> bool:
        """True if this may be all of a short text, with a mask that every layer needs again.

        Of a long text it is only the first block.
        """
        return self.start == 0 and self.last <= QUERIES


def query_blocks(
    length: int, direction: Direction, window: int | None, scores: int = 1
) -> list[QueryBlock]:
    """Cut a segment of L tokens into blocks.

    Args:
        length: L.
        direction: direction of the plan.
        window: window of the layer, counted as in `AttentionPlan`. None if there is none.
        scores: numbers written out for one query and one key: 1 for a mask, heads × segments for
            scores.
    """
    causal = direction == "causal"
    size = QUERIES
    if length > QUERIES:
        keys = (
            length if window is None else min(length, QUERIES + (window if causal else 2 * window))
        )
        size = min(QUERIES, max(FEWEST, ELEMENTS // (keys * scores)))
    blocks = []
    for start in range(0, length, size):
        end = min(start + size, length)
        first = 0 if window is None else max(0, start - window + causal)
        last = end if causal else length if window is None else min(length, end + window)
        blocks.append(QueryBlock(start, end, first, last))
    return blocks


def seen(
    block: QueryBlock, direction: Direction, window: int | None, device: torch.device
) -> Tensor:
    """Draw the mask (Q, R) bool of a block, True if the query sees the key.

    Masks for blocks of short texts are cached, because every layer needs them again.
    """
    make = _seen if block.short else _seen.__wrapped__
    # The key is the distance alone, so texts of one length share a mask.
    return make(
        block.end - block.start,
        block.last - block.first,
        block.first - block.start,
        direction,
        window,
        device,
    )


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _seen(
    queries: int,
    keys: int,
    offset: int,
    direction: Direction,
    window: int | None,
    device: torch.device,
) -> Tensor:
    ahead = (
        torch.arange(offset, offset + keys, device=device)
        - torch.arange(queries, device=device)[:, None]
    )
    if direction == "causal":
        return ahead <= 0 if window is None else (ahead <= 0) & (ahead > -window)
    return torch.ones_like(ahead, dtype=torch.bool) if window is None else ahead.abs() <= window


__getattr__ = old_names(__name__)
