"""Arithmetic of hidden blocks: a text, then blocks of tokens that see the text but not each other.

LLaRA asks a text two questions in one pass, "summarize it" and "predict the next text", and neither
may read the other's answer. Each block of prompt and special tokens lies at the end of the text's
segment. Its positions begin at the position of the first block. So a block has the states that it
would have as the only one, and the text has the states of the text alone. Under causal attention
this holds because blocks come later, under bidirectional attention because a text does not see
them.

In this module a row is two tuples of numbers. `blocked` executes it.

Method: LLaRA (Llama2Vec), arXiv 2312.15503. Positions are those of the authors' released code.

Letters: T tokens of the row, S segments.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from bothways.config import Direction
from bothways.errors import InputError

Blocks = tuple[tuple[int, ...], ...]
"""For each segment the token counts of its blocks, in order, or () for a segment of text alone.

For example ((), (3, 3)): the second of two segments ends in two blocks of three tokens.
"""


class Unfolded(NamedTuple):
    """The same row with a segment for every block, which starts with a copy of its text.

    Attributes:
        lengths: lengths of those segments.
        source: (T',) index of the row's token at each place.
        place: (T,) place from which each token's state is read. A text is read from its first copy.
    """

    lengths: tuple[int, ...]
    source: Tensor
    place: Tensor


def check(lengths: tuple[int, ...], blocks: Blocks) -> None:
    """Refuse blocks that no row could hold.

    Raises:
        InputError: if there is not one entry per segment, if a block is empty, or if a segment has
            no token of text before its blocks.
    """
    if len(blocks) != len(lengths):
        raise InputError(
            f"AttentionPlan.blocks: {len(lengths)} segments need as many entries, () for none (got {len(blocks)})"
        )
    for index, (length, sizes) in enumerate(zip(lengths, blocks)):
        if sizes and (min(sizes) < 1 or sum(sizes) >= length):
            raise InputError(
                f"AttentionPlan.blocks[{index}]: blocks need at least one token each, and one of text before them "
                f"(got {sizes} in a segment of {length})"
            )


def tails(blocks: Blocks, direction: Direction) -> tuple[int, ...]:
    """Count the tokens at the end of each segment that see more or less than in a plain segment.

    Causal tokens up to the first block's end see all tokens before them, in blocks or not. A
    bidirectional text does not see any block.
    """
    return tuple(sum(sizes[1:] if direction == "causal" else sizes) for sizes in blocks)


# As in `plan`: layers ask for the same small tensors, and inference mode would exclude them from a
# later backward pass.
@lru_cache(maxsize=64)
@torch.inference_mode(False)
def positions(lengths: tuple[int, ...], blocks: Blocks, device: torch.device) -> Tensor:
    """Compute positions (T,) int64: from 0 in a text, and from its end in each of its blocks."""
    parts = []
    for length, sizes in zip(lengths, blocks):
        text = length - sum(sizes)
        parts += [torch.arange(text), *(torch.arange(text, text + size) for size in sizes)]
    return torch.cat(parts).to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def ids(lengths: tuple[int, ...], blocks: Blocks, device: torch.device) -> Tensor:
    """Compute each token's block (T,) int64: 0 for text, then 1, 2, … from the left."""
    numbers = [number for sizes in blocks for number in range(len(sizes) + 1)]
    repeats = [
        count for length, sizes in zip(lengths, blocks) for count in (length - sum(sizes), *sizes)
    ]
    return torch.repeat_interleave(torch.tensor(numbers), torch.tensor(repeats)).to(device)


def unfold(lengths: tuple[int, ...], blocks: Blocks, device: torch.device) -> Unfolded:
    """Rewrite the row as plain causal segments, with every block after a copy of its text.

    This is for families that cannot run plans.
    """
    unfolded: list[int] = []
    source: list[Tensor] = []
    place: list[Tensor] = []
    start = written = 0
    for length, sizes in zip(lengths, blocks):
        text = torch.arange(start, start + length - sum(sizes))
        end = start + len(text)
        for number, size in enumerate(sizes or (0,)):
            source += [text, torch.arange(end, end + size)]
            # The text itself is read from its first copy.
            place.append(
                torch.arange(
                    written if number == 0 else written + len(text), written + len(text) + size
                )
            )
            unfolded.append(len(text) + size)
            written += len(text) + size
            end += size
        start += length
    return Unfolded(tuple(unfolded), torch.cat(source).to(device), torch.cat(place).to(device))
