"""Windows: a document longer than the encoder reads is cut into overlapping parts.

`late_chunking` reads them one by one and joins their states.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bothways.encoder.batch import TokenRow
from bothways.encoder.chunks.chunk_pooling import Document
from bothways.errors import InputError


class Window(NamedTuple):
    """Body tokens [start, end) that are read together, of which [first, last) are kept."""

    start: int
    end: int
    first: int
    last: int


def windows(tokens: int, size: int, overlap: int) -> list[Window]:
    """Cut `tokens` into windows of at most `size` that share at least `overlap` with neighbors.

    Every token is kept from one window. For example, `windows(10, 6, 2)` returns [0, 6) and [4,
    10), of which [0, 5) and [5, 10) are kept.
    """
    starts = [0]
    while starts[-1] + size < tokens:
        starts.append(min(starts[-1] + size - overlap, tokens - size))
    ends = [min(start + size, tokens) for start in starts]
    cuts = [0, *((start + end) // 2 for start, end in zip(starts[1:], ends)), tokens]
    return [
        Window(start, end, first, last)
        for start, end, first, last in zip(starts, ends, cuts, cuts[1:])
    ]


def windows_of(
    document: Document, index: int, limit: int | None, overlap: int | None
) -> list[Window]:
    """Cut the body of a document into windows, so that each fits `limit` with the parts around it.

    Raises:
        InputError: the windows have no room for text, or overlap by more than their room.
    """
    tokens = len(document.body.ids)
    if limit is None or document.tokens <= limit:
        return [Window(0, tokens, 0, tokens)]
    size = limit - len(document.before.ids) - len(document.after.ids)
    shared = size // 4 if overlap is None else overlap
    if size < 1 or not 0 <= shared < size:
        raise InputError(
            f"texts[{index}]: windows of {limit} tokens have {size} left for the text next to instruction and special "
            f"tokens, and must overlap by less than that (got {shared}); raise length or lower overlap"
        )
    return windows(tokens, size, shared)


def row_of(document: Document, window: Window) -> TokenRow:
    """Return the row of a window, with the instruction and special tokens around the text."""
    body = part_of(document.body, window.start, window.end)
    return TokenRow(
        *(
            getattr(document.before, field) + getattr(body, field) + getattr(document.after, field)
            for field in ("ids", "pool", "offsets")
        )
    )


def blocks(cut: Sequence[Window], most: int) -> Iterator[list[Window]]:
    """Group windows to at most `most` tokens, or one window, each."""
    block: list[Window] = []
    for window in cut:
        if block and sum(each.end - each.start for each in [*block, window]) > most:
            yield block
            block = []
        block.append(window)
    yield block


def part_of(row: TokenRow, start: int, end: int) -> TokenRow:
    """Return the tokens [start, end) of a row."""
    return TokenRow(row.ids[start:end], row.pool[start:end], row.offsets[start:end])
