"""Computes the bounds of a document's chunks, in characters and in tokens. No model is run.

Letters: T tokens of a text, C chunks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from bothways.errors import InputError
from bothways.moved import old_names

CharacterSpan = tuple[int, int]
Chunking = Literal["sentences"] | int | Sequence[Sequence[CharacterSpan]]

EXPECTED = "must be 'sentences', a number of tokens, or spans for each text"
# Closing marks belong to the sentence. Scripts without blanks have their own full stops. The
# lookbehinds keep the search linear: when a run of dots or blanks fails to match at its first
# character, the others are not tried.
_BREAK = re.compile(r"(?<![.!?…])[.!?…]+[\"'”’)\]]*\s+|[。！？]+[」』”’）]*\s*|(?<!\s)\s*\n\s*")


def spans_of(
    chunks: Chunking, index: int, text: str, offsets: Sequence[CharacterSpan]
) -> list[CharacterSpan]:
    """Compute character spans of the chunks of a text.

    Every span contains a token, unless the caller gave the spans. For example, "sentences" splits
    "One. Two." into [(0, 5), (5, 9)].

    Args:
        chunks: "sentences", a number of tokens, or the spans of each text.
        index: number of the text.
        text: its characters.
        offsets: characters of each token, in order.

    Raises:
        InputError: chunks have another form, or spans are outside the text.
    """
    if isinstance(chunks, str):
        if chunks != "sentences":
            raise InputError(f"chunks: {EXPECTED} (got {chunks!r})")
        return _with_tokens(sentence_spans(text), offsets)
    if isinstance(chunks, int):
        if chunks < 1:
            raise InputError(f"chunks: a chunk needs at least 1 token (got {chunks})")
        return _with_tokens(token_spans(offsets, chunks, len(text)), offsets)
    try:
        spans = [(int(start), int(end)) for start, end in chunks[index]]
    except (TypeError, ValueError):
        raise InputError(
            f"chunks[{index}]: must be a list of pairs (start, end) of characters (got {chunks[index]!r})"
        ) from None
    for number, (start, end) in enumerate(spans):
        if not 0 <= start < end <= len(text):
            raise InputError(
                f"chunks[{index}][{number}]: must be characters (start, end) with 0 ≤ start < end ≤ {len(text)} (got {(start, end)})"
            )
    return spans


def _with_tokens(
    spans: Sequence[CharacterSpan], offsets: Sequence[CharacterSpan]
) -> list[CharacterSpan]:
    """Join each span without a token to the span before it, or at the beginning to the next one."""
    found: list[CharacterSpan] = []
    begin: int | None = None  # start of the spans before the first token
    for (start, end), (first, stop) in zip(spans, _members(spans, offsets)):
        if first < stop:
            found.append((start if begin is None else begin, end))
            begin = None
        elif found:
            found[-1] = (found[-1][0], end)
        elif begin is None:
            begin = start
    return found


def sentence_spans(text: str) -> list[CharacterSpan]:
    """Split a text into sentences, as character spans that together cover it.

    Sentences end at punctuation of any script, so abbreviations end them as well, and at line ends.
    White space belongs to the sentence before it.
    """
    spans: list[CharacterSpan] = []
    start = 0
    for match in _BREAK.finditer(text):
        if text[start : match.end()].strip():
            spans.append((start, match.end()))
            start = match.end()
    if text[start:].strip():
        spans.append((start, len(text)))
    elif spans:
        spans[-1] = (spans[-1][0], len(text))
    return spans


def token_spans(
    offsets: Sequence[CharacterSpan], size: int, characters: int
) -> list[CharacterSpan]:
    """Compute character spans of `size` tokens each. The last one may be shorter.

    Together they cover the text, which has `characters` characters.
    """
    ends = [
        offsets[min(first + size, len(offsets)) - 1][1] for first in range(0, len(offsets), size)
    ]
    bounds = [0, *ends[:-1], characters] if ends else [0]
    return [(start, end) for start, end in pairwise(bounds) if end > start]


def members_of(
    spans: Sequence[CharacterSpan], offsets: Sequence[CharacterSpan], index: int = 0
) -> list[CharacterSpan]:
    """Find the tokens [first, end) of each chunk.

    Args:
        spans: characters of each chunk.
        offsets: characters of each token, in order.
        index: number of the text, for messages.

    Raises:
        InputError: no token represents the characters of a chunk.
    """
    members = _members(spans, offsets)
    for number, ((start, end), (first, stop)) in enumerate(zip(spans, members)):
        if first == stop:
            raise InputError(
                f"chunks[{index}][{number}]: no token represents the characters {start} to {end} of this text; choose a longer chunk"
            )
    return members


def _members(
    spans: Sequence[CharacterSpan], offsets: Sequence[CharacterSpan]
) -> list[CharacterSpan]:
    """Do the work of `members_of`, with first = end for a chunk without a token."""
    starts = np.maximum.accumulate(np.array([start for start, _ in offsets], dtype=np.int64))
    ends = np.maximum.accumulate(np.array([end for _, end in offsets], dtype=np.int64))
    members: list[CharacterSpan] = []
    for start, end in spans:
        # the last character of a token, its end - 1, lies in [start, end)
        first, stop = (int(place) for place in np.searchsorted(ends, [start, end], side="right"))
        if first == stop:
            stop = max(first, int(np.searchsorted(starts, end, side="left")))
        members.append((first, stop))
    return members


__getattr__ = old_names(__name__)
