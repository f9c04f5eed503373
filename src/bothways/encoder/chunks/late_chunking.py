"""Late chunking: encodes passages of a document after reading the whole document.

Attention first runs over the whole document. Pooling comes afterwards, passage by passage, so the
vector of a passage with "it" or "the city" knows what the words refer to. A passage that covers the
whole text has the same vector as `encode` gives.

    document ─▶ states of all tokens ─▶ pooling over each chunk's tokens ─▶ one vector per chunk

Rules:
- A token belongs to the chunk that contains its last character. So a token that begins with the
  blank before a word belongs to the word. If no token ends in a chunk, it takes the tokens that it
  shares a character with. Chunks may overlap and leave gaps.
- Characters that the tokenizer drops (BERT's: U+200B, U+FEFF, NUL) have no token. A sentence
  that consists of them joins the one before it, or the first one with a token. As a given chunk it
  is an error. A document that consists of them has no sentences.
- Instruction tokens are seen but not pooled. Special tokens that `encode` pools go with the text's
  first token (BOS) or last one (EOS).
- "last" is a chunk's own last token. EOS comes only after the whole text, so use mean with encoders
  that were trained on EOS.
- A document longer than the encoder's length is read in overlapping windows. The overlap of two
  windows is divided in the middle, so each token comes from the window in which it is farther from
  the cut. The last window is moved back to be full.

Method: late chunking, https://arxiv.org/abs/2409.04701. The windows follow its "long late
chunking".

Letters: T tokens of a document, C chunks, H hidden, D embedding.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bothways.attention.stock import evaluation_mode
from bothways.encoder.batch import TokenRow
from bothways.encoder.chunks.chunk_pooling import Document, TokenPlaces, body_offsets, pooled
from bothways.encoder.chunks.chunk_spans import EXPECTED, CharacterSpan, Chunking, spans_of
from bothways.encoder.chunks.windows import Window, blocks, part_of, row_of, windows_of
from bothways.encoder.finite import check_vectors
from bothways.encoder.inference import Budget, EncodeSettings, check_many, over_passes
from bothways.encoder.module import EncoderModule
from bothways.encoder.texts.tokenization import Text, is_pair
from bothways.errors import InputError
from bothways.progress import Progress

# Tokens of documents whose states are held together. A longer document is alone in its group, and
# its states are held for about as many tokens at a time.
TOGETHER = 65_536
_WHOLE = 10**9  # tokens, more than any document has
log = logging.getLogger("bothways")


class Chunks(NamedTuple):
    """One document: vectors (C, D) float32 and the characters [start, end) of each chunk."""

    vectors: np.ndarray
    spans: list[CharacterSpan]


def encode_chunks(
    encoder: EncoderModule, texts: Sequence[Text], chunks: Chunking, **options: Any
) -> list[Chunks]:
    """Compute vectors of every chunk of every document. Options are those of `chunk_groups`."""
    if (
        not isinstance(chunks, (str, int, np.integer))
        and isinstance(chunks, Sequence)
        and len(chunks) != len(texts)
    ):
        raise InputError(
            f"chunks: one list of (start, end) per text, so {len(texts)} lists (got {len(chunks)})"
        )
    return [each for _, found in chunk_groups(encoder, texts, chunks, **options) for each in found]


def chunk_groups(
    encoder: EncoderModule,
    texts: Iterable[Text],
    chunks: Chunking,
    *,
    prompt: str | None = None,
    length: int | None = None,
    overlap: int | None = None,
    normalize: bool | None = None,
    batch_tokens: int | None = None,
    show_progress_bar: bool | None = None,
) -> Iterator[tuple[list[Text], list[Chunks]]]:
    """Encode chunks by groups of documents: yields (documents, their chunks) in order.

    A group has at most `TOGETHER` tokens, or is one document. It reads one document further ahead.
    Arguments are those of `Encoder.encode_chunks`.
    """
    EncodeSettings(batch_tokens=batch_tokens).check(encoder.dimension)
    check_many(texts)
    if isinstance(chunks, np.integer):
        chunks = int(chunks)
    if isinstance(chunks, bool) or not isinstance(chunks, (str, int, Sequence)):
        raise InputError(f"chunks: {EXPECTED} (got {chunks!r})")
    if getattr(encoder.pooling, "mode", None) == "last_tokens":
        raise InputError(
            "late chunking: last_tokens reads tokens after the text, but a passage has no such tokens; pool with mean"
        )
    limit = _limit(encoder, length)
    unit = encoder.options.normalize if normalize is None else normalize
    budget = Budget(encoder, batch_tokens)
    total = len(texts) if isinstance(texts, Sequence) else None
    done = longer = 0
    with Progress("encode chunks", total, "texts", show=show_progress_bar) as bar:
        for documents in _groups(_documents(encoder, texts, chunks, prompt)):
            found: list[Chunks] = []
            # not around the yield, because the caller's mode applies between groups
            with evaluation_mode(encoder):
                for document, vectors in zip(
                    documents, _vectors(encoder, documents, done, limit, overlap, budget)
                ):
                    chunk_count = len(vectors)
                    check_vectors(
                        vectors.numpy(),
                        [done + len(found)] * chunk_count,
                        [document.text] * chunk_count,
                        encoder.dtype,
                    )
                    vectors = torch.nn.functional.normalize(vectors, dim=-1) if unit else vectors
                    found.append(Chunks(vectors.numpy(), document.spans))
                    bar.advance(1)
            yield [document.text for document in documents], found
            done += len(documents)
            longer += sum(limit is not None and document.tokens > limit for document in documents)
    if longer:
        log.info(
            "%d of %d texts were longer than %d tokens and were read in overlapping windows",
            longer,
            done,
            limit,
        )


def _limit(encoder: EncoderModule, length: int | None) -> int | None:
    """Return the maximum number of tokens per window, or None if unlimited.

    Raises:
        InputError: the length exceeds the backbone's positions. A learned table ends there, and
            rotary states mean nothing beyond it.
    """
    from bothways.attention.positions import usable_positions

    own = usable_positions(encoder.backbone)
    if length is not None and own is not None and length > own:
        raise InputError(
            f"length: must be at most the {own} tokens that this encoder has positions for (got {length})"
        )
    known = [
        each
        for each in (length if length is not None else encoder.max_length, own)
        if each is not None
    ]
    return min(known, default=None)


# --- documents and chunks ------------------------------------------------------------


def _documents(
    encoder: EncoderModule, texts: Iterable[Text], chunks: Chunking, prompt: str | None
) -> Iterator[Document]:
    asked: set[str] = set()
    for index, item in enumerate(texts):
        row = encoder.tokenize([item], prompt=prompt, max_length=_WHOLE, first=index)[0]
        text = item if isinstance(item, str) else item[1]
        _check_prompt(encoder, item[0] if is_pair(item) else prompt or "", asked)
        own = [end > start for start, end in row.offsets]
        first = own.index(True) if True in own else len(own)
        last = len(own) - own[::-1].index(True) if True in own else len(own)
        before, body, after = (
            part_of(row, *bounds) for bounds in ((0, first), (first, last), (last, len(own)))
        )
        yield Document(item, before, body, after, spans_of(chunks, index, text, body_offsets(body)))


def _check_prompt(encoder: EncoderModule, prompt: str, asked: set[str]) -> None:
    """Raise InputError if "last" would read a question behind the text.

    `asked` keeps the prompts that passed.
    """
    if prompt in asked or getattr(encoder.pooling, "mode", None) != "last":
        return
    if encoder.text_tokenizer().frame(prompt).closing:
        raise InputError(
            "late chunking: the prompt asks a question after the text, but a passage in the middle has no question; give prompt=''"
        )
    asked.add(prompt)


def _groups(documents: Iterator[Document]) -> Iterator[list[Document]]:
    group: list[Document] = []
    tokens = 0
    for document in documents:
        if group and tokens + document.tokens > TOGETHER:
            yield group
            group, tokens = [], 0
        group.append(document)
        tokens += document.tokens
    if group:
        yield group


def _vectors(
    encoder: EncoderModule,
    documents: Sequence[Document],
    first: int,
    limit: int | None,
    overlap: int | None,
    budget: Budget,
) -> Iterator[Tensor]:
    """Compute vectors (C, D) float32 of the chunks of each document, on the CPU."""
    cut = [
        windows_of(document, first + number, limit, overlap)
        for number, document in enumerate(documents)
    ]
    if len(documents) == 1 and documents[0].tokens > TOGETHER:
        yield _vectors_in_blocks(encoder, documents[0], cut[0], first, budget)
        return
    for number, (document, states) in enumerate(
        zip(documents, _states(encoder, documents, cut, budget))
    ):
        chunks = TokenPlaces.of(document, first + number)
        numbers = range(len(chunks.members))
        yield (
            pooled(encoder.pooling, chunks, numbers, states, 0, encoder.device)
            if numbers
            else torch.zeros(0, encoder.dimension)
        )


def _vectors_in_blocks(
    encoder: EncoderModule, document: Document, cut: Sequence[Window], index: int, budget: Budget
) -> Tensor:
    """Compute the vectors of a long document window by window, without holding all its states.

    A chunk is pooled as soon as the states of its last token are there. States are dropped when no
    later chunk needs them.
    """
    chunks = TokenPlaces.of(document, index)
    vectors = torch.zeros(len(chunks.members), encoder.dimension)
    # by their last token; needed[i] is the first token of chunk order[i] and those after it
    order = sorted(range(len(chunks.members)), key=lambda number: chunks.bounds(number)[1])
    needed = list(
        itertools.accumulate((chunks.bounds(number)[0] for number in reversed(order)), min)
    )[::-1]
    held = torch.zeros(0)
    start = known = done = 0
    for part in blocks(cut, TOGETHER):
        final = part[-1] is cut[-1]
        (states,) = _states(
            encoder, [document], [part], budget, opened=part[0] is not cut[0], open_end=not final
        )
        held = states if not len(held) else torch.cat([held, states])
        known += len(states)
        ready = done
        while ready < len(order) and chunks.bounds(order[ready])[1] <= known:
            ready += 1
        if ready > done:
            vectors[order[done:ready]] = pooled(
                encoder.pooling, chunks, order[done:ready], held, start, encoder.device
            )
            done = ready
        keep = min(needed[done] if done < len(order) else known, known)
        if keep > start:
            held, start = held[keep - start :].clone(), keep
    return vectors


# --- states --------------------------------------------------------------------------


def _states(
    encoder: EncoderModule,
    documents: Sequence[Document],
    cut: Sequence[Sequence[Window]],
    budget: Budget,
    *,
    opened: bool = False,
    open_end: bool = False,
) -> list[Tensor]:
    """Compute states (T, H) float32 of each document, on the CPU.

    Tokens around the text come from the outermost windows. If `opened` or `open_end` is True, the
    first or the last window given is not the outermost one of its document.
    """
    rows = [row_of(document, window) for document, own in zip(documents, cut) for window in own]
    found: dict[int, Tensor] = {}

    def run(part: list[TokenRow]) -> list[Tensor]:
        batch = encoder.pack(part, fill_to=budget.fill(part)).to(encoder.device)
        return list(
            encoder.pooled_states(batch).float().cpu().split(batch.plan.lengths)[: batch.rows]
        )

    for group, states in over_passes(rows, budget, None, run):
        # copies, because a view would keep the states of the whole pass
        found.update((index, value.clone()) for index, value in zip(group, states))
    parts: list[Tensor] = []
    number = 0
    for document, own in zip(documents, cut):
        lead = len(document.before.ids)
        pieces = []
        for place, window in enumerate(own):
            states = found.pop(number)
            number += 1
            begin = 0 if place == 0 and not opened else lead + window.first - window.start
            stop = (
                len(states)
                if place == len(own) - 1 and not open_end
                else lead + window.last - window.start
            )
            pieces.append(states[begin:stop])
        parts.append(torch.cat(pieces))
    return parts
