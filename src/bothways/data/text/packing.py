"""Documents packed into full rows, the training text of MNTP.

LLM2Vec (https://arxiv.org/abs/2404.05961) concatenates tokenised documents and cuts rows of 512 tokens, so no token of a pass
is padding. In its code a row is one sequence, and a token sees the neighbouring documents of its row; with `isolate` each
document's part is a segment of its own, which the attention plan keeps apart.
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
        ids: the token ids, T of them; kept in four bytes each, since a corpus of long rows is held whole.
        lengths: lengths of the row's segments, in order, summing to T; what `AttentionPlan` takes.
    """

    ids: Sequence[int]
    lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        """Pack the ids."""
        if not isinstance(self.ids, array):
            object.__setattr__(self, "ids", array("i", self.ids))


def joined_ids(blocks: Iterable[Block]) -> Tensor:
    """The rows' tokens one after the other: (T,) int64."""
    return torch.cat([torch.frombuffer(block.ids, dtype=torch.int32) for block in blocks]).long()


def pack_documents(token_ids: Iterable[Sequence[int]], length: int, *, separator: int | None, isolate: bool) -> list[Block]:
    """Concatenate documents and cut them into rows of exactly `length` tokens, without padding.

    Args:
        token_ids: the documents; those without tokens are passed over.
        length: tokens in a row, at least 1.
        separator: id placed between two documents (usually EOS), counted to the document before it; None places nothing.
        isolate: False gives each row one segment (as published); True one segment for each document's part in the row.

    Returns:
        Rows holding every token once, in order. The last, incomplete row is dropped (fewer than `length` tokens), unless it is
        the only one: then it is returned as it is. Documents without any token at all give no row.

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
            # in the segment of the document before; only where that one filled its row to the brim does it open the next row
            # alone
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
