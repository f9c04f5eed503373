"""Documents packed into full rows, the training text of MNTP.

LLM2Vec (https://arxiv.org/abs/2404.05961) concatenates tokenized documents and cuts rows of 512
tokens, so no token of a pass is padding. In its code a row is one sequence, and a token sees the
neighboring documents of its row. With `isolate` the part of each document is a segment of its own,
and the attention plan keeps segments separate.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bothways.errors import InputError


@dataclass(frozen=True)
class Block:
    """One row of tokens.

    Attributes:
        ids: T token ids, four bytes each, because a corpus of long rows is held whole.
        lengths: the lengths of the row's segments in order, which sum to T. `AttentionPlan` takes
            them.
    """

    ids: Sequence[int]
    lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        """Store the ids in four bytes each."""
        if not isinstance(self.ids, array):
            object.__setattr__(self, "ids", array("i", self.ids))


def joined_ids(blocks: Iterable[Block]) -> Tensor:
    """Return the tokens of all rows one after the other: (T,) int64."""
    return torch.cat([torch.frombuffer(block.ids, dtype=torch.int32) for block in blocks]).long()


def pack_documents(
    token_ids: Iterable[Sequence[int]], length: int, *, separator: int | None, isolate: bool
) -> list[Block]:
    """Concatenate documents and cut them into rows of exactly `length` tokens, without padding.

    Args:
        token_ids: the documents. Those without tokens are skipped.
        length: the number of tokens of a row, at least 1.
        separator: an id between two documents (usually EOS), which counts to the document before
            it. If None, there is nothing between them.
        isolate: False gives each row one segment (as published). True gives one segment to the part
            of each document.

    Returns:
        Rows that hold every token once, in order. The last row is dropped if it has fewer than
        `length` tokens, unless it is the only one. Documents without tokens give no row.

    Raises:
        InputError: `length` is less than 1.
    """
    if length < 1:
        raise InputError(f"pack_documents: length {length}; expected at least 1 token in a row")
    blocks: list[Block] = []
    row = array("i")
    parts: list[int] = []
    first = True
    for document in token_ids:
        if not document:
            continue
        if separator is not None and not first:
            # belongs to the segment of the document before it; if that filled its row, the
            # separator begins the next row with a segment of its own
            row.append(separator)
            if parts:
                parts[-1] += 1
            else:
                parts.append(1)
            if len(row) == length:
                blocks.append(_block(row, parts, isolate))
                row, parts = array("i"), []
        first = False
        start = 0
        while start < len(document):
            piece = document[start : start + length - len(row)]
            start += len(piece)
            row.extend(piece)
            parts.append(len(piece))
            if len(row) == length:
                blocks.append(_block(row, parts, isolate))
                row, parts = array("i"), []
    if row and not blocks:
        blocks.append(_block(row, parts, isolate))
    return blocks


def _block(row: array[int], parts: list[int], isolate: bool) -> Block:
    return Block(row, tuple(parts) if isolate else (len(row),))
