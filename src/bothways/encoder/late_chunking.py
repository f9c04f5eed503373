"""Late chunking: vectors of passages that were read as parts of their document.

The whole document passes through attention first, and pooling comes afterwards, passage by passage, so that "it" and "the city" carry
what they refer to. One passage that covers the whole text has the vector that `encode` gives.

    document ─▶ states of all tokens ─▶ pooling over each chunk's tokens ─▶ one vector per chunk

Rules:
- A token belongs to the chunk that holds its last character: tokens that begin with the blank before a word go where the word goes. A
  chunk so small that no token ends in it takes the tokens that it shares a character with. Chunks may overlap and leave gaps.
- Instruction tokens are seen and not pooled. Special tokens that `encode` pools go with the text's first token (BOS) or last one (EOS).
- "last" is a chunk's own last token. EOS stands behind the whole text only, so encoders that were trained on it are better served by mean.
- A document longer than the encoder's length is read in windows that overlap; where two windows hold a token, the one counts in which
  it stands farther from the cut, that is, the overlap is divided in the middle. The last window is moved back to be full.

Method: late chunking, https://arxiv.org/abs/2409.04701; windows as in its "long late chunking".

Letters: T tokens of a document, C chunks, H hidden, D embedding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bothways.attention.stock import quiet
from bothways.encoder.batch import TokenRow
from bothways.encoder.inference import Budget, Settings, over_passes
from bothways.encoder.tokenization import Text
from bothways.errors import InputError
from bothways.progress import Progress

if TYPE_CHECKING:
    from bothways.encoder.encoder import Encoder

Span = tuple[int, int]
Chunking = Literal["sentences"] | int | Sequence[Sequence[Span]]

TOGETHER = 65_536  # tokens of documents whose states are held at the same time; a longer document is held alone
_WHOLE = 10**9  # tokens: longer than any document
_EXPECTED = "must be 'sentences', a number of tokens, or spans for each text"
# Closing marks stay with the sentence; scripts without blanks end theirs with a mark of their own.
_BREAK = re.compile(r"[.!?…]+[\"'”’)\]]*\s+|[。！？]+[」』”’）]*\s*|\s*\n\s*")


class Chunks(NamedTuple):
    """One document: vectors (C, D) float32 and the characters [start, end) of each chunk."""

    vectors: np.ndarray
    spans: list[Span]


@dataclass(frozen=True)
class _Document:
    """A tokenised document: `before` and `after` are what surrounds the text's own tokens (instruction, special tokens)."""

    before: TokenRow
    body: TokenRow
    after: TokenRow
    spans: list[Span]

    @property
    def tokens(self) -> int:
        return len(self.before.ids) + len(self.body.ids) + len(self.after.ids)


def encode_chunks(
    encoder: Encoder,
    texts: Sequence[Text],
    chunks: Chunking,
    *,
    prompt: str | None = None,
    length: int | None = None,
    overlap: int | None = None,
    normalize: bool | None = None,
    batch_tokens: int | None = None,
    show_progress_bar: bool | None = None,
) -> list[Chunks]:
    """Vectors of every chunk of every document; arguments as `Encoder.encode_chunks`."""
    Settings(batch_tokens=batch_tokens).check(encoder.dimension)
    if isinstance(chunks, np.integer):
        chunks = int(chunks)
    if isinstance(chunks, bool) or not isinstance(chunks, (str, int, Sequence)):
        raise InputError(f"chunks: {_EXPECTED} (got {chunks!r})")
    if not isinstance(chunks, (str, int)) and len(chunks) != len(texts):
        raise InputError(f"chunks: one list of (start, end) per text, so {len(texts)} lists (got {len(chunks)})")
    if getattr(encoder.pooling, "mode", None) == "last_tokens":
        raise InputError(
            "late chunking: last_tokens reads a vector from tokens behind the text, and a passage has none; pool with mean"
        )
    prompts = {item[0] if isinstance(item, tuple) else prompt or "" for item in texts}
    if getattr(encoder.pooling, "mode", None) == "last" and any(
        encoder.text_tokenizer().frame(each).closing for each in prompts
    ):
        raise InputError(
            "late chunking: the prompt asks a question behind the text, which a passage in the middle does not have; give prompt=''"
        )
    unit = encoder.options.normalize if normalize is None else normalize
    budget = Budget(encoder, batch_tokens)
    found: list[Chunks] = []
    with Progress("encode chunks", len(texts), "texts", show=show_progress_bar) as bar, quiet(encoder):
        for documents in _groups(_documents(encoder, texts, chunks, prompt)):
            for document, states in zip(documents, _states(encoder, documents, len(found), length, overlap, budget)):
                vectors = _pooled(encoder, document, states, len(found))
                vectors = torch.nn.functional.normalize(vectors, dim=-1) if unit else vectors
                found.append(Chunks(vectors.numpy(), document.spans))
                bar.advance(1)
    return found


# --- documents and chunks ------------------------------------------------------------------------------------------------------


def sentence_spans(text: str) -> list[Span]:
    """Sentences of a text as character spans that together cover it; a line's end closes one too.

    By punctuation alone, in any script; abbreviations end sentences as well. White space belongs to the sentence before it.
    """
    spans: list[Span] = []
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


def token_spans(offsets: Sequence[Span], size: int, characters: int) -> list[Span]:
    """Character spans of `size` tokens each, the last one shorter; they cover the text of `characters`."""
    ends = [offsets[min(first + size, len(offsets)) - 1][1] for first in range(0, len(offsets), size)]
    bounds = [0, *ends[:-1], characters] if ends else [0]
    return [(start, end) for start, end in pairwise(bounds) if end > start]


def _documents(encoder: Encoder, texts: Sequence[Text], chunks: Chunking, prompt: str | None) -> Iterator[_Document]:
    for index, item in enumerate(texts):
        row = encoder.tokenize([item], prompt=prompt, max_length=_WHOLE, first=index)[0]
        text = item if isinstance(item, str) else item[1]
        own = [end > start for start, end in row.offsets]
        first = own.index(True) if True in own else len(own)
        last = len(own) - own[::-1].index(True) if True in own else len(own)
        before, body, after = (_part(row, *bounds) for bounds in ((0, first), (first, last), (last, len(own))))
        yield _Document(before, body, after, _spans(chunks, index, text, body))


def _part(row: TokenRow, start: int, end: int) -> TokenRow:
    return TokenRow(row.ids[start:end], row.pool[start:end], row.offsets[start:end])


def _spans(chunks: Chunking, index: int, text: str, body: TokenRow) -> list[Span]:
    if isinstance(chunks, str):
        if chunks != "sentences":
            raise InputError(f"chunks: {_EXPECTED} (got {chunks!r})")
        return sentence_spans(text)
    if isinstance(chunks, int):
        if chunks < 1:
            raise InputError(f"chunks: a chunk needs at least 1 token (got {chunks})")
        return token_spans(_offsets(body), chunks, len(text))
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


def _offsets(body: TokenRow) -> list[Span]:
    """Characters of the text's tokens; one that stands for none (a normaliser dropped them) goes with the token before it."""
    offsets: list[Span] = []
    for start, end in body.offsets:
        offsets.append((start, end) if end > start else offsets[-1])
    return offsets


def _groups(documents: Iterator[_Document]) -> Iterator[list[_Document]]:
    group: list[_Document] = []
    tokens = 0
    for document in documents:
        if group and tokens + document.tokens > TOGETHER:
            yield group
            group, tokens = [], 0
        group.append(document)
        tokens += document.tokens
    if group:
        yield group


# --- states --------------------------------------------------------------------------------------------------------------------


class _Window(NamedTuple):
    """Body tokens [start, end) that are read together, of which [first, last) are kept."""

    start: int
    end: int
    first: int
    last: int


def windows(tokens: int, size: int, overlap: int) -> list[_Window]:
    """Cut `tokens` into windows of at most `size`, neighbours sharing at least `overlap`; every token is kept from one window."""
    starts = [0]
    while starts[-1] + size < tokens:
        starts.append(min(starts[-1] + size - overlap, tokens - size))
    ends = [min(start + size, tokens) for start in starts]
    cuts = [0, *((start + end) // 2 for start, end in zip(starts[1:], ends)), tokens]
    return [_Window(start, end, first, last) for start, end, first, last in zip(starts, ends, cuts, cuts[1:])]


def _states(
    encoder: Encoder, documents: Sequence[_Document], first: int, length: int | None, overlap: int | None, budget: Budget
) -> list[Tensor]:
    """States (T, H) float32, on the CPU, of each document: what surrounds the text from the outermost windows."""
    limit = encoder.max_length if length is None else length
    cut = [_windows_of(document, first + number, limit, overlap) for number, document in enumerate(documents)]
    rows = [_row(document, window) for document, own in zip(documents, cut) for window in own]
    found: dict[int, Tensor] = {}

    def run(part: list[TokenRow]) -> list[Tensor]:
        batch = encoder.pack(part, fill_to=budget.fill(part)).to(encoder.device)
        return list(encoder.states(batch).float().cpu().split(batch.plan.lengths)[: batch.rows])

    for group, states in over_passes(rows, budget, None, run):
        # copies, so that one row kept does not keep the whole pass
        found.update((index, value.clone()) for index, value in zip(group, states))
    parts: list[Tensor] = []
    number = 0
    for document, own in zip(documents, cut):
        lead = len(document.before.ids)
        pieces = []
        for place, window in enumerate(own):
            states = found.pop(number)
            number += 1
            begin = 0 if place == 0 else lead + window.first - window.start
            stop = len(states) if place == len(own) - 1 else lead + window.last - window.start
            pieces.append(states[begin:stop])
        parts.append(torch.cat(pieces))
    return parts


def _windows_of(document: _Document, index: int, limit: int | None, overlap: int | None) -> list[_Window]:
    tokens = len(document.body.ids)
    if limit is None or document.tokens <= limit:
        return [_Window(0, tokens, 0, tokens)]
    size = limit - len(document.before.ids) - len(document.after.ids)
    shared = size // 4 if overlap is None else overlap
    if size < 1 or not 0 <= shared < size:
        raise InputError(
            f"texts[{index}]: windows of {limit} tokens have {size} left for the text beside instruction and special tokens, and must "
            f"overlap by less than that (got {shared}); raise length or lower overlap"
        )
    return windows(tokens, size, shared)


def _row(document: _Document, window: _Window) -> TokenRow:
    body = _part(document.body, window.start, window.end)
    return TokenRow(
        *(
            getattr(document.before, field) + getattr(body, field) + getattr(document.after, field)
            for field in ("ids", "pool", "offsets")
        )
    )


# --- pooling -------------------------------------------------------------------------------------------------------------------


def _pooled(encoder: Encoder, document: _Document, states: Tensor, index: int) -> Tensor:
    """Vectors (C, D) float32, on the CPU."""
    if not document.spans:
        return torch.zeros(0, encoder.dimension)
    members = members_of(document.spans, _offsets(document.body), index)
    lead, last = len(document.before.ids), len(document.body.ids) - 1
    opening = [place for place, kept in enumerate(document.before.pool) if kept]
    closing = [lead + last + 1 + place for place, kept in enumerate(document.after.pool) if kept]
    chosen = []
    for first, end in members:
        own = range(lead + first, lead + end)
        chosen.append([*(opening if first == 0 else ()), *own, *(closing if end == last + 1 else ())])
    places = torch.tensor([place for own in chosen for place in own])
    segments = torch.repeat_interleave(torch.arange(len(chosen)), torch.tensor([len(own) for own in chosen])).to(encoder.device)
    mask = torch.ones_like(segments, dtype=torch.bool)
    return encoder.pooling(states[places].to(encoder.device), mask, segments, len(chosen)).float().cpu()


def members_of(spans: Sequence[Span], offsets: Sequence[Span], index: int = 0) -> list[Span]:
    """Tokens [first, end) of each chunk.

    Args:
        spans: characters of each chunk.
        offsets: characters of each token, in order.
        index: number of the text, for messages.

    Raises:
        InputError: a chunk whose characters no token stands for.
    """
    starts = np.maximum.accumulate(np.array([start for start, _ in offsets], dtype=np.int64))
    ends = np.maximum.accumulate(np.array([end for _, end in offsets], dtype=np.int64))
    members: list[Span] = []
    for number, (start, end) in enumerate(spans):
        # the last character of a token, its end - 1, lies in [start, end)
        first, stop = (int(place) for place in np.searchsorted(ends, [start, end], side="right"))
        if first == stop:
            stop = max(first, int(np.searchsorted(starts, end, side="left")))
        if first == stop:
            raise InputError(f"chunks[{index}][{number}]: no token stands for the characters {start} to {end} of this text")
        members.append((first, stop))
    return members
