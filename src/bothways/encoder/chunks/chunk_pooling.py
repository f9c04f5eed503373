"""Pools a document's token states into the vectors of its chunks, all at once or some at a time.

It is apart from `late_chunking`, which reads the states, because long documents are pooled while
they are read.

Letters: T tokens of a document, C chunks, H hidden, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bothways.encoder.batch import TokenRow
from bothways.encoder.chunks.chunk_spans import CharacterSpan, members_of
from bothways.encoder.texts.tokenization import Text
from bothways.moved import old_names


@dataclass(frozen=True)
class Document:
    """A tokenized document.

    `before` and `after` are the instruction and special tokens around the text's own tokens.
    """

    text: Text
    before: TokenRow
    body: TokenRow
    after: TokenRow
    spans: list[CharacterSpan]

    @property
    def tokens(self) -> int:
        """Number of tokens of the whole row."""
        return len(self.before.ids) + len(self.body.ids) + len(self.after.ids)


def body_offsets(body: TokenRow) -> list[CharacterSpan]:
    """Return characters of the text's tokens.

    A token without characters (a normalizer dropped them) goes with the token before it.
    """
    offsets: list[CharacterSpan] = []
    for start, end in body.offsets:
        offsets.append((start, end) if end > start else offsets[-1])
    return offsets


class TokenPlaces(NamedTuple):
    """Which tokens of a document's row each chunk has.

    Attributes:
        members: body tokens [first, end) of each chunk.
        lead: number of tokens before the body.
        tokens: number of tokens of the body.
        opening: pooled tokens before the body, which go with its first token.
        closing: pooled tokens after the body, which go with its last token.
    """

    members: list[CharacterSpan]
    lead: int
    tokens: int
    opening: list[int]
    closing: list[int]

    @classmethod
    def of(cls, document: Document, index: int) -> TokenPlaces:
        """Find the chunks' tokens. `index` is the document's number, for messages."""
        members = (
            members_of(document.spans, body_offsets(document.body), index) if document.spans else []
        )
        lead, tokens = len(document.before.ids), len(document.body.ids)
        opening = [place for place, kept in enumerate(document.before.pool) if kept]
        closing = [lead + tokens + place for place, kept in enumerate(document.after.pool) if kept]
        return cls(members, lead, tokens, opening, closing)

    def of_chunk(self, number: int) -> list[int]:
        """List the tokens of a chunk, in the document's row."""
        first, end = self.members[number]
        own = range(self.lead + first, self.lead + end)
        return [
            *(self.opening if first == 0 else ()),
            *own,
            *(self.closing if end == self.tokens else ()),
        ]

    def bounds(self, number: int) -> CharacterSpan:
        """Give the range of tokens that holds those of a chunk."""
        first, end = self.members[number]
        start = self.opening[0] if first == 0 and self.opening else self.lead + first
        return start, self.closing[
            -1
        ] + 1 if end == self.tokens and self.closing else self.lead + end


def pooled(
    pooling: nn.Module,
    chunks: TokenPlaces,
    numbers: Sequence[int],
    states: Tensor,
    start: int,
    device: torch.device,
) -> Tensor:
    """Compute vectors (C, D) float32 of some chunks, one at least. They are returned on the CPU.

    `start` is the token of the document's row that the first of the states belongs to.
    """
    chosen = [chunks.of_chunk(number) for number in numbers]
    places = torch.tensor([place - start for own in chosen for place in own])
    segments = torch.repeat_interleave(
        torch.arange(len(chosen)), torch.tensor([len(own) for own in chosen])
    ).to(device)
    mask = torch.ones_like(segments, dtype=torch.bool)
    vectors: Tensor = pooling(states[places].to(device), mask, segments, len(chosen))
    return vectors.float().cpu()


__getattr__ = old_names(__name__)
